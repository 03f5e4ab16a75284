"""Backbones that turn images into feature maps.

A backbone is a sequence of stages. The last one runs at stride 1, which doubles the resolution of
the feature map; `split_last_stage` separates it for a network that runs it on each branch.

Shapes: B = images, C = channels, H and W = height and width of the image.
"""

import torch
from torch import Tensor, nn
from torchvision import models

from daam.model.weights import Weights, load_weights


def tiny_backbone() -> nn.Sequential:
    """Return a residual network small enough to train on the synthetic domains on a CPU in minutes.

    (B, 3, H, W) -> (B, 128, H / 8, W / 8); 0.3 million parameters.
    """
    return nn.Sequential(
        convolution(3, 16, stride=2),
        ResidualBlock(16, 32, stride=2),
        ResidualBlock(32, 64, stride=2),
        ResidualBlock(64, 128, stride=1),
    )


def resnet_backbone(name: str, *, weights: Weights) -> nn.Sequential:
    """Return one of torchvision's ResNets without its head, last stage at stride 1.

    (B, 3, H, W) -> (B, C, H / 16, W / 16), C 512 or for `resnet50` 2048.

    Args:
        name: `resnet18`, `resnet34` or `resnet50`.
        weights: its initial weights.

    Raises:
        ConfigError: the weights cannot be downloaded or read, or are of another network.
    """
    build, published = {
        "resnet18": (models.resnet18, models.ResNet18_Weights.IMAGENET1K_V1),
        "resnet34": (models.resnet34, models.ResNet34_Weights.IMAGENET1K_V1),
        "resnet50": (models.resnet50, models.ResNet50_Weights.IMAGENET1K_V2),
    }[name]
    network = build(weights=None)
    load_weights(network, weights, name=name, published=published, classifier="fc.")
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


def convnext_backbone(*, weights: Weights) -> nn.Sequential:
    """Return torchvision's ConvNeXt-tiny without its head, last stage at stride 1.

    (B, 3, H, W) -> (B, 768, H / 16, W / 16). The last stage begins with a 2x2 convolution of stride
    2. At stride 1 it covers its previous windows and those between them; the last row and column of
    its input are repeated to keep the size. Stochastic depth is off: its random draws are not part
    of a checkpoint, so a resumed run would differ. The network has layer norms, so domain-specific
    batch norm applies only to the bottleneck.

    Args:
        weights: its initial weights.

    Raises:
        ConfigError: the weights cannot be downloaded or read, or are of another network.
    """
    network = models.convnext_tiny(weights=None, stochastic_depth_prob=0.0)
    published = models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1
    load_weights(
        network, weights, name="convnext_tiny", published=published, classifier="classifier."
    )
    *stages, shrink, last_stage = network.features
    lower_last_stride(shrink)
    norm, convolution_2x2 = shrink.children()
    padding = nn.ReplicationPad2d((0, 1, 0, 1))
    return nn.Sequential(*stages, nn.Sequential(norm, padding, convolution_2x2, last_stage))


def split_last_stage(backbone: nn.Sequential) -> tuple[nn.Sequential, nn.Module]:
    """Return a backbone without its last stage, and that stage."""
    return backbone[:-1], backbone[-1]


def num_output_channels(backbone: nn.Module) -> int:
    """Return C of a backbone's feature map, from a forward pass."""
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        features_BCHW = backbone(torch.zeros(1, 3, 64, 32))
    backbone.train(was_training)
    return features_BCHW.shape[1]


def lower_last_stride(stage: nn.Module) -> None:
    """Set a stage to stride 1, which doubles the resolution of its feature map."""
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
        """Return features at 1 / stride of the input's resolution."""
        return torch.relu(self.second(self.first(features_BCHW)) + self.skip(features_BCHW))


def convolution(num_in: int, num_out: int, *, stride: int) -> nn.Sequential:
    """Return a 3x3 convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.ReLU(inplace=True),
    )
