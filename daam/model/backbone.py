"""Trunks that turn images into feature maps.

Shapes: B = images, C = channels, H and W = height and width of the image.
"""

import pickle
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models

from daam.errors import ConfigError


def tiny_backbone() -> nn.Sequential:
    """Return a residual network small enough to learn the rendered domains on a CPU in minutes.

    (B, 3, H, W) -> (B, 128, H / 8, W / 8); 0.3 million parameters.
    """
    return nn.Sequential(
        convolution(3, 16, stride=2),
        ResidualBlock(16, 32, stride=2),
        ResidualBlock(32, 64, stride=2),
        ResidualBlock(64, 128, stride=1),
    )


def resnet_backbone(name: str, *, weights: str) -> nn.Sequential:
    """Return torchvision's `resnet18` or `resnet50` without its head, last stage at stride 1.

    (B, 3, H, W) -> (B, 512 or 2048, H / 16, W / 16).

    Args:
        name: `resnet18` or `resnet50`.
        weights: `imagenet` (fetched by torchvision once), `none`, or the path of a state dict.

    Raises:
        ConfigError: the weights cannot be fetched, read, or are of another network.
    """
    build, published = {
        "resnet18": (models.resnet18, models.ResNet18_Weights.IMAGENET1K_V1),
        "resnet50": (models.resnet50, models.ResNet50_Weights.IMAGENET1K_V2),
    }[name]
    network = build(weights=None)
    if weights == "imagenet":
        network.load_state_dict(fetched_state(name, published))
    elif weights != "none":
        load_trunk_state(network, Path(weights).expanduser(), name=name)
    lower_last_stride(network.layer4)
    return nn.Sequential(
        network.conv1,
        network.bn1,
        network.relu,
        network.maxpool,
        network.layer1,
        network.layer2,
        network.layer3,
        network.layer4,
    )


def num_output_channels(backbone: nn.Module) -> int:
    """Return C of a backbone's feature map, by looking at one."""
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        features_BCHW = backbone(torch.zeros(1, 3, 64, 32))
    backbone.train(was_training)
    return features_BCHW.shape[1]


def fetched_state(name: str, published: models.WeightsEnum) -> dict[str, Tensor]:
    """Return torchvision's published weights from its cache folder or from where they are kept."""
    try:
        return published.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"the ImageNet weights of {name} cannot be fetched ({error}); download {published.url} "
            "where you can and name the file: --set model.weights=PATH, or start from random "
            "weights: --set model.weights=none"
        ) from error


def load_trunk_state(network: nn.Module, path: Path, *, name: str) -> None:
    """Load a torchvision state dict from a file; its classifier may be missing or of any size."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"model.weights: there is no file {path}; check the path") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"model.weights: {path} is not a PyTorch state dict ({type(error).__name__}); "
            "save one with torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ConfigError(
            f"model.weights: {path} holds no state dict but a {type(state).__name__} of other "
            "things; save one with torch.save(model.state_dict(), path)"
        )
    trunk = {key: value for key, value in state.items() if not key.startswith("fc.")}
    missing, unexpected = [], []
    try:
        missing, unexpected = network.load_state_dict(trunk, strict=False)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()  # under a heading, one line for each weight
        raise ConfigError(
            f"model.weights: {path} does not fit {name}: {first} Choose the backbone it is of"
        ) from error
    missing = [key for key in missing if not key.startswith("fc.")]
    if missing or unexpected:
        first = (missing or unexpected)[0]
        raise ConfigError(
            f"model.weights: {path} does not fit {name}: {len(missing)} weights are missing and "
            f"{len(unexpected)} are unknown, {first} for example; use torchvision's names"
        )


def lower_last_stride(stage: nn.Module) -> None:
    """Set a residual stage to stride 1: twice the resolution for the parts of a person."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection (He et al. 2016)."""

    def __init__(self, num_in: int, num_out: int, *, stride: int) -> None:
        super().__init__()
        self.first = convolution(num_in, num_out, stride=stride)
        self.second = nn.Sequential(
            nn.Conv2d(num_out, num_out, 3, padding=1, bias=False), nn.BatchNorm2d(num_out)
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or num_in != num_out:
            self.skip = nn.Sequential(
                nn.Conv2d(num_in, num_out, 1, stride=stride, bias=False), nn.BatchNorm2d(num_out)
            )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return the block's features, at 1 / stride of the resolution."""
        return torch.relu(self.second(self.first(features_BCHW)) + self.skip(features_BCHW))


def convolution(num_in: int, num_out: int, *, stride: int) -> nn.Sequential:
    """Return a 3x3 convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.ReLU(inplace=True),
    )
