"""Trunks: the size of their maps, the weights they take, and how they refuse others."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision import models

from daam.errors import ConfigError
from daam.model.backbone import (
    convnext_backbone,
    num_output_channels,
    resnet_backbone,
    split_last_stage,
    tiny_backbone,
)
from daam.model.weights import StateDict, read_state_dict


def features_of(backbone: nn.Module, *, height: int = 64, width: int = 32) -> torch.Tensor:
    with torch.no_grad():
        return backbone.eval()(torch.zeros(1, 3, height, width))


def saved(state: object, path: Path) -> str:
    torch.save(state, path)
    return str(path)


def network_of(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The trunk's weights under torchvision's names."""
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return {
        f"{names[int(key.partition('.')[0])]}.{key.partition('.')[2]}": value
        for key, value in backbone.state_dict().items()
    }


def test_the_tiny_trunk_gives_maps_at_an_eighth_of_the_resolution():
    assert features_of(tiny_backbone()).shape == (1, 128, 8, 4)
    assert 0.25e6 < sum(weight.numel() for weight in tiny_backbone().parameters()) < 0.35e6


@pytest.mark.parametrize(
    ("name", "num_channels"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)]
)
def test_a_resnet_gives_maps_at_a_sixteenth_of_the_resolution(name, num_channels):
    backbone = resnet_backbone(name, weights="none")
    assert features_of(backbone).shape == (1, num_channels, 4, 2)
    assert num_output_channels(backbone) == num_channels


def test_counting_channels_changes_nothing():
    backbone = tiny_backbone()
    backbone.train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    num_output_channels(backbone)
    after = backbone.state_dict()
    assert backbone.training
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("num_classes", [7, 1000, None])
def test_weights_from_a_file_are_loaded_to_the_bit_whatever_their_classifier(num_classes, tmp_path):
    torch.manual_seed(3)
    state = models.resnet18(num_classes=num_classes or 2).state_dict()
    if num_classes is None:
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    loaded = network_of(resnet_backbone("resnet18", weights=saved(state, tmp_path / "w.pt")))
    expected = {name: value for name, value in state.items() if not name.startswith("fc.")}
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_trunk_computes_what_the_whole_network_would_at_full_stride(tmp_path):
    torch.manual_seed(3)
    network = models.resnet18(num_classes=4).eval()
    path = saved(network.state_dict(), tmp_path / "w.pt")
    backbone = resnet_backbone("resnet18", weights=path).eval()
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        # Up to the third stage nothing differs from torchvision's.
        upper = network.layer3(
            network.layer2(
                network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(images)))))
            )
        )
        assert torch.equal(backbone[:7](images), upper)
        # Stride 1 in the last stage sees every position that stride 2 sees, and those between.
        assert backbone(images).shape[2:] == upper.shape[2:]


def complaint(weights: str, *, name: str = "resnet18") -> str:
    with pytest.raises(ConfigError) as caught:
        resnet_backbone(name, weights=weights)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_a_missing_file_of_weights_is_named(tmp_path):
    assert f"there is no file {tmp_path / 'absent.pt'}" in complaint(str(tmp_path / "absent.pt"))


def test_a_folder_is_no_file_of_weights(tmp_path):
    assert f"{tmp_path} cannot be read: Is a directory" in complaint(str(tmp_path))


class NotATensor:
    """What a pickle may hold and a state dict may not."""


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 a picture"),
        lambda path: path.write_text("weights"),
        lambda path: path.write_bytes(b"PK\x03\x04 cut short"),
        lambda path: path.write_bytes(pickle.dumps({"a": 1}, protocol=2)),
        lambda path: torch.save(NotATensor(), path),
    ],
    ids=["empty", "picture", "text", "cut zip", "plain pickle", "object"],
)
def test_a_file_that_holds_no_weights_is_refused(write: Callable[[Path], Any], tmp_path):
    write(tmp_path / "w.pt")
    assert f"{tmp_path / 'w.pt'} is not a PyTorch state dict" in complaint(str(tmp_path / "w.pt"))


@pytest.mark.parametrize("state", [[torch.zeros(1)], {0: torch.zeros(1)}], ids=["list", "numbers"])
def test_a_file_of_something_else_is_refused(state, tmp_path):
    assert "and not a state dict" in complaint(saved(state, tmp_path / "w.pt"))


def test_weights_of_another_resnet_are_refused(tmp_path):
    path = saved(models.resnet34(num_classes=2).state_dict(), tmp_path / "w.pt")
    assert "does not fit resnet18: " in complaint(path)
    assert "layer1.2.conv1.weight" in complaint(path)


def test_weights_of_other_shapes_are_refused(tmp_path):
    state = models.resnet18(num_classes=2).state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(64, 32, 3, 3)
    message = complaint(saved(state, tmp_path / "w.pt"))
    assert "does not fit resnet18: size mismatch for layer1.0.conv1.weight" in message


def test_an_incomplete_set_of_weights_is_refused(tmp_path):
    state = models.resnet18(num_classes=2).state_dict()
    del state["layer4.1.bn2.running_var"]
    message = complaint(saved(state, tmp_path / "w.pt"))
    assert "1 weights are missing and 0 are unknown: layer4.1.bn2.running_var;" in message


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"module.{name}": v for name, v in state.items()}},
    ],
    ids=["state_dict", "module.", "both"],
)
def test_weights_as_training_scripts_wrap_them_are_taken_out(wrapped, tmp_path):
    state = models.resnet18(num_classes=2).state_dict()
    path = saved(wrapped(state), tmp_path / "w.pt")
    loaded = network_of(resnet_backbone("resnet18", weights=path))
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())


def test_weights_read_from_elsewhere_are_loaded_like_those_of_a_file():
    state = models.resnet18(num_classes=2).state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    read = read_state_dict(file, where="s3://bucket/w.pt")
    loaded = network_of(resnet_backbone("resnet18", weights=read))
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())


def test_weights_read_from_elsewhere_are_named_in_complaints():
    with pytest.raises(ConfigError, match=r"s3://bucket/w\.pt is not a PyTorch state dict"):
        read_state_dict(io.BytesIO(b"picture"), where="s3://bucket/w.pt")
    other = StateDict(tensors={"weight": torch.zeros(1)}, where="s3://bucket/w.pt")
    with pytest.raises(ConfigError, match=r"s3://bucket/w\.pt does not fit resnet18: "):
        resnet_backbone("resnet18", weights=other)


# ConvNeXt


def convnext_pair() -> tuple[models.ConvNeXt, nn.Sequential]:
    """Torchvision's network, and the trunk made of its weights."""
    torch.manual_seed(3)
    network = models.convnext_tiny(num_classes=2).eval()
    state = StateDict(tensors=network.state_dict(), where="memory")
    return network, convnext_backbone(weights=state).eval()


@torch.no_grad()
def test_convnext_gives_maps_at_a_sixteenth_of_the_resolution_of_what_torchvision_computes():
    network, backbone = convnext_pair()
    images = torch.randn(1, 3, 64, 32)
    assert backbone(images).shape == (1, 768, 4, 2)
    trunk, _ = split_last_stage(backbone)
    stages = list(network.features.children())
    assert torch.equal(trunk(images), nn.Sequential(*stages[:6])(images))
    # Before the last blocks: at every second position what the convolution of stride 2 gives.
    shrunk = nn.Sequential(*stages[:7])(images)
    norm, padding, convolution, _ = backbone[-1].children()
    dense = convolution(padding(norm(trunk(images))))
    torch.testing.assert_close(dense[:, :, ::2, ::2], shrunk)


def test_convnext_draws_nothing_at_random_in_training():
    _, backbone = convnext_pair()
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(backbone.train()(images), backbone(images))


def test_weights_of_a_resnet_are_no_convnext():
    state = StateDict(tensors=models.resnet18(num_classes=2).state_dict(), where="memory")
    with pytest.raises(ConfigError, match="memory does not fit convnext_tiny: "):
        convnext_backbone(weights=state)


@pytest.mark.parametrize(
    "backbone",
    [tiny_backbone, lambda: resnet_backbone("resnet18", weights="none")],
    ids=["tiny", "resnet18"],
)
def test_a_trunk_and_its_last_stage_are_the_backbone(backbone):
    whole = backbone().eval()
    trunk, last_stage = split_last_stage(whole)
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(last_stage(trunk(images)), whole(images))
    assert num_output_channels(trunk) < num_output_channels(whole)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet18", models.ResNet18_Weights.IMAGENET1K_V1),
        ("resnet50", models.ResNet50_Weights.IMAGENET1K_V2),
    ],
)
@pytest.mark.parametrize(
    "failure", [URLError("no route"), TimeoutError("timed out"), RuntimeError("invalid hash value")]
)
def test_imagenet_weights_that_cannot_be_fetched_say_where_they_are_and_what_to_do(
    name, published, failure, monkeypatch
):
    def unreachable(*args: object, **kwargs: object) -> None:
        raise failure

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    message = complaint("imagenet", name=name)
    assert f"ImageNet weights of {name}" in message
    assert published.url in message
    assert "--set model.weights=PATH" in message
    assert "--set model.weights=none" in message


def test_imagenet_weights_that_are_there_are_loaded_to_the_bit(monkeypatch, tmp_path):
    torch.manual_seed(3)
    state = models.resnet18().state_dict()
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    file = checkpoints / Path(models.ResNet18_Weights.IMAGENET1K_V1.url).name
    torch.save(state, file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    loaded = network_of(resnet_backbone("resnet18", weights="imagenet"))
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())
