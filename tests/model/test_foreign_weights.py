"""Checkpoints of other re-ID projects: their trunk is loaded, the rest is named or refused.

Each is made of torchvision's ResNet, under the names that the project's code gives its modules.
"""

import logging
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from daam.errors import ConfigError
from daam.model.attention import SpatialAttention
from daam.model.backbone import convnext_backbone, resnet_backbone
from daam.model.network import DaamNetwork
from daam.model.weights import read_state_dict
from tests.model.test_backbone import network_of

NAMES = ("resnet18", "resnet34", "resnet50")
Weights = dict[str, Tensor]


def trunk(name: str) -> Weights:
    """Weights of a ResNet without its classifier, every tensor different."""
    torch.manual_seed(3)
    state = models.get_model(name, weights=None).state_dict()
    for key, value in state.items():
        if key.endswith(("running_mean", "bias")):
            value.normal_()
        elif key.endswith("num_batches_tracked"):
            value.fill_(7)
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def under(prefix: str, weights: Weights) -> Weights:
    return {prefix + key: value for key, value in weights.items()}


def linear(name: str, *, num_in: int = 8, num_out: int = 5) -> Weights:
    return under(f"{name}.", nn.Linear(num_in, num_out).state_dict())


def norm(name: str) -> Weights:
    return under(f"{name}.", nn.BatchNorm1d(8).state_dict())


def numbered(weights: Weights, stages: tuple[str, ...]) -> Weights:
    """As an nn.Sequential of the stages names them."""
    places = {stage: str(place) for place, stage in enumerate(stages)}
    return {
        f"{places[stage]}.{rest}": value
        for key, value in weights.items()
        for stage, _, rest in (key.partition("."),)
    }


def torchreid(weights: Weights) -> dict[str, Any]:
    state = weights | linear("fc.0") | norm("fc.1") | linear("classifier")
    return {"state_dict": state, "epoch": 60, "rank1": 0.9, "optimizer": {"state": {}}}


def torchreid_data_parallel(weights: Weights) -> dict[str, Any]:
    return {"state_dict": under("module.", weights | linear("classifier"))}


def fast_reid(weights: Weights) -> dict[str, Any]:
    pixel = {name: torch.zeros(1, 3, 1, 1) for name in ("pixel_mean", "pixel_std")}
    heads = norm("heads.bottleneck.0") | {"heads.weight": torch.zeros(5, 8)}
    return {"model": under("backbone.", weights) | heads | pixel, "iteration": 9, "epoch": 2}


def strong_baseline(weights: Weights) -> dict[str, Any]:
    bottleneck = norm("bottleneck")
    return under("base.", weights) | bottleneck | {"classifier.weight": torch.zeros(5, 8)}


def open_unreid(weights: Weights) -> dict[str, Any]:
    state = under("backbone.", weights) | norm("head.bnneck") | linear("classifier")
    return {"state_dict": under("module.", state), "epoch": 4, "best_mAP": 0.5}


def open_unreid_mean_teacher(weights: Weights) -> dict[str, Any]:
    """The average is what embeds; the student is there, too."""
    student = {key: torch.zeros_like(value) for key, value in weights.items()}
    state = {
        prefix + key: value
        for prefix, part in (("net.", student), ("mean_net.", weights))
        for key, value in (under("backbone.", part) | linear("classifier")).items()
    }
    return {"state_dict_1": under("module.", state), "epoch": 4}


def cluster_contrast(weights: Weights) -> dict[str, Any]:
    stages = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    state = under("base.", numbered(weights, stages)) | norm("feat_bn")
    return {"state_dict": under("module.", state), "epoch": 50, "best_mAP": 0.8}


def without_the_first_relu(weights: Weights) -> dict[str, Any]:
    stages = ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return {"state_dict": under("base.", numbered(weights, stages)) | norm("feat_bn")}


def layumi(weights: Weights) -> dict[str, Any]:
    classifier = linear("classifier.add_block.0") | norm("classifier.add_block.1")
    return under("model.", weights | linear("fc")) | classifier | linear("classifier.classifier.0")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("project", "left_out"),
    [
        (torchreid, "classifier."),  # `fc.` is the classifier of torchvision, and always left out
        (torchreid_data_parallel, "classifier."),
        (fast_reid, "heads., pixel_mean, pixel_std"),
        (strong_baseline, "bottleneck., classifier."),
        (open_unreid, "classifier., head."),
        (open_unreid_mean_teacher, "mean_net.classifier., net."),
        (cluster_contrast, "feat_bn."),
        (without_the_first_relu, "feat_bn."),
        (layumi, "classifier., model.fc."),
    ],
)
def test_the_trunk_of_a_projects_checkpoint_is_loaded_to_the_bit_and_the_rest_named(
    name, project, left_out, tmp_path, caplog
):
    weights, path = trunk(name), tmp_path / "model.pth"
    torch.save(project(weights), path)
    with caplog.at_level(logging.WARNING):
        loaded = network_of(resnet_backbone(name, weights=str(path)))
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in loaded.items())
    (said,) = caplog.messages
    assert said == (
        f"model.weights: {path}: loaded the trunk of {name} ({len(weights)} tensors), "
        f"left out {left_out}"
    )


def test_a_head_is_not_taken_for_a_part_of_the_trunk_by_its_name(tmp_path):
    weights, path = trunk("resnet18"), tmp_path / "w.pth"
    heads = norm("neck.BN") | norm("neck.part1.IN") | linear("pool.se.0")
    torch.save(weights | heads, path)
    loaded = network_of(resnet_backbone("resnet18", weights=str(path)))
    assert all(torch.equal(value, weights[key]) for key, value in loaded.items())


def test_the_trunk_of_a_daam_checkpoint_is_loaded(tmp_path, caplog):
    path = tmp_path / "epoch-0002.pt"
    backbone = resnet_backbone("resnet18", weights="none")
    attention = SpatialAttention(initial_bias=1.0, kernel=3, temperature=1.0)
    network = DaamNetwork(backbone, num_channels=512, num_identities=7, attention=attention)
    torch.save({"format": 3, "network": network.state_dict(), "num_identities": 7}, path)
    loaded = resnet_backbone("resnet18", weights=str(path)).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in backbone.state_dict().items())
    assert "left out attention., shared., specific." in caplog.text


def test_nothing_is_said_of_torchvisions_own_weights(tmp_path, caplog):
    path = tmp_path / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), path)
    resnet_backbone("resnet18", weights=str(path))
    assert not caplog.messages


def test_convnext_weights_are_found_in_a_training_scripts_checkpoint(tmp_path):
    state = models.convnext_tiny(num_classes=2).state_dict()
    path = tmp_path / "w.pt"
    torch.save({"model": under("backbone.", state) | norm("heads.bnneck")}, path)
    backbone = convnext_backbone(weights=str(path))
    stem = backbone.state_dict()["0.0.weight"]
    assert torch.equal(stem, state["features.0.0.weight"])


def test_weights_saved_before_norms_counted_their_batches_are_loaded(tmp_path):
    weights, path = trunk("resnet18"), tmp_path / "old.pth"
    old = {key: value for key, value in weights.items() if "num_batches" not in key}
    torch.save(strong_baseline(old), path)
    loaded = network_of(resnet_backbone("resnet18", weights=str(path)))
    assert all(torch.equal(loaded[key], value) for key, value in old.items())


def with_ibn(weights: Weights) -> Weights:
    norm_of_half = {
        f"layer1.0.bn1.{part}.{key}": torch.ones(32)
        for part in ("IN", "BN")
        for key in ("weight", "bias")
    }
    rest = {k: v for k, v in weights.items() if not k.startswith("layer1.0.bn1.")}
    return rest | norm_of_half


def with_domain_norms(weights: Weights) -> Weights:
    return {
        key.replace("bn1.", f"bn1.dsbn.{domain}."): value
        for key, value in weights.items()
        for domain in (0, 1)
    }


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (with_ibn, r"instance-batch norms \(IBN\) \(backbone\.layer1\.0\.bn1\.IN\.weight\)"),
        (lambda w: w | {"NL_2.0.g.weight": torch.ones(1)}, r"non-local blocks \(backbone\.NL_2"),
        (lambda w: w | {"layer1.0.se.fc.0.weight": torch.ones(1)}, "squeeze-and-excitation"),
        (with_domain_norms, r"domain-specific batch norms \(backbone\.bn1\.dsbn\.0\."),
    ],
)
def test_a_trunk_that_is_no_plain_resnet_is_refused_in_one_line(changed, what, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(fast_reid(changed(trunk("resnet50"))), path)
    with pytest.raises(ConfigError, match=what) as caught:
        resnet_backbone("resnet50", weights=str(path))
    assert "use weights of a plain resnet50" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda w: {k: v for k, v in w.items() if not k.startswith("layer4.1.")},
            "10 weights are missing and 0 are unknown: layer4.1.conv1.weight, "
            "layer4.1.bn1.weight, layer4.1.bn1.bias, ...",
        ),
        (
            lambda w: w | {"layer1.0.gate.weight": torch.ones(1)},
            "0 weights are missing and 1 are unknown: layer1.0.gate.weight;",
        ),
        (
            lambda w: w | {"layer4.0.bn1.weight": torch.ones(7)},
            "size mismatch for layer4.0.bn1.weight",
        ),
        (lambda w: {k: v for k, v in w.items() if k != "conv1.weight"}, "it has no conv1.weight"),
        (
            lambda w: w | under("second.", w),
            "it has 2 trunks (backbone., backbone.second.)",
        ),
    ],
)
def test_a_trunk_that_does_not_fit_is_refused_by_the_names_of_its_weights(spoil, said, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(fast_reid(spoil(trunk("resnet18"))), path)
    with pytest.raises(ConfigError) as caught:
        resnet_backbone("resnet18", weights=str(path))
    assert f"{path} does not fit resnet18: " in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pickled",
    [
        lambda state: {"state_dict": state, "rank1": np.float64(0.9)},  # as torchreid saved it
        lambda state: network_with(state),  # as reid-strong-baseline's trained models
    ],
    ids=["numpy", "module"],
)
def test_a_checkpoint_that_needs_pickle_is_refused_with_a_command_that_converts_it(
    pickled: Callable[[Weights], Any], tmp_path
):
    weights, path = trunk("resnet18"), tmp_path / "it's a model.pth"
    torch.save(pickled(weights), path)
    with pytest.raises(ConfigError, match="unpickling Python objects can run any code") as caught:
        read_state_dict(path, where=str(path))
    program, *arguments = shlex.split(str(caught.value).partition("imported: ")[2])
    assert program == "python"
    subprocess.run([sys.executable, *arguments], check=True, cwd=tmp_path, timeout=120)
    loaded = network_of(resnet_backbone("resnet18", weights=str(Path(tmp_path) / "weights.pt")))
    assert all(torch.equal(value, weights[key]) for key, value in loaded.items())


def network_with(state: Weights) -> nn.Module:
    network = models.resnet18()
    network.load_state_dict(state, strict=False)
    return network
