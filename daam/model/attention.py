"""Attention that splits a feature map into a shared and a specific part.

Every kind is A = sigmoid((logits(F) + bias) / temperature) with logits initialised to zero. So A
starts as sigmoid(bias / temperature) everywhere, which scales a pretrained feature map evenly
instead of distorting it. A temperature above 1 softens A, one below 1 sharpens it.

Shapes: B = images, C = channels, D = channels of a bottleneck, H and W = height and width of the
feature map.
Source: DAAM, arXiv:1905.10529, "residual attention": the specific part is what the shared part
leaves over.
"""

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daam.model.pooling import mean_over_channels, mean_over_positions

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class Attention(nn.Module, ABC):
    """The base of all kinds: a bias, a temperature and the sigmoid.

    Args:
        initial_bias: 1.0 starts A near 0.73 at temperature 1.
        temperature: positive.
    """

    def __init__(self, *, initial_bias: float, temperature: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(float(initial_bias)))
        self.temperature = temperature

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return A(F) in (0, 1): (B, C, H, W), or a shape that broadcasts to it."""
        return torch.sigmoid(self.logits(features_BCHW))

    @abstractmethod
    def logits(self, features_BCHW: Tensor) -> Tensor:
        """Return the input of the sigmoid."""

    def scaled(self, logits: Tensor) -> Tensor:
        """Add the bias and divide by the temperature; cheapest before logits are broadcast."""
        return (logits + self.bias) / self.temperature


class FactorisedAttention(Attention):
    """Logits = channel(F) + spatial(F), from the two kinds below.

    Args:
        num_channels: C.
        reduction: the squeeze keeps C / reduction channels, at least 4.
        initial_bias: see `Attention`.
        kernel: odd width of the spatial convolution.
        temperature: see `Attention`.
    """

    def __init__(
        self,
        num_channels: int,
        *,
        reduction: int,
        initial_bias: float,
        kernel: int,
        temperature: float,
    ) -> None:
        super().__init__(initial_bias=initial_bias, temperature=temperature)
        self.squeeze, self.excite = squeeze_and_excite(num_channels, reduction=reduction)
        self.spatial = spatial_convolution(kernel)

    def logits(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        channel_BC = channel_logits(features_BCHW, self.squeeze, self.excite)
        spatial_B1HW = self.spatial(mean_over_channels(features_BCHW))
        channel_BC, spatial_BHW = channel_BC / self.temperature, self.scaled(spatial_B1HW[:, 0])
        # In the memory format of F: multiplying maps of two formats takes several times as long.
        if features_BCHW.is_contiguous(memory_format=torch.channels_last):
            return (channel_BC[:, None, None, :] + spatial_BHW[:, :, :, None]).permute(0, 3, 1, 2)
        return channel_BC[:, :, None, None] + spatial_BHW[:, None, :, :]


class ChannelAttention(Attention):
    """A squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507): one weight per channel.

    Args:
        num_channels: C.
        reduction: the squeeze keeps C / reduction channels, at least 4.
        initial_bias: see `Attention`.
        temperature: see `Attention`.
    """

    def __init__(
        self, num_channels: int, *, reduction: int, initial_bias: float, temperature: float
    ) -> None:
        super().__init__(initial_bias=initial_bias, temperature=temperature)
        self.squeeze, self.excite = squeeze_and_excite(num_channels, reduction=reduction)

    def logits(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, C, 1, 1)."""
        channel_BC = channel_logits(features_BCHW, self.squeeze, self.excite)
        return self.scaled(channel_BC)[:, :, None, None]


class SpatialAttention(Attention):
    """A convolution of the mean over channels: one weight per position.

    Args:
        initial_bias: see `Attention`.
        kernel: odd width of the convolution.
        temperature: see `Attention`.
    """

    def __init__(self, *, initial_bias: float, kernel: int, temperature: float) -> None:
        super().__init__(initial_bias=initial_bias, temperature=temperature)
        self.spatial = spatial_convolution(kernel)

    def logits(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, 1, H, W)."""
        return self.scaled(self.spatial(mean_over_channels(features_BCHW)))


class FullAttention(Attention):
    """Two 1x1 convolutions with a bottleneck: one weight per feature.

    Args:
        num_channels: C.
        reduction: the bottleneck has C / reduction channels, at least 4.
        initial_bias: see `Attention`.
        temperature: see `Attention`.
    """

    def __init__(
        self, num_channels: int, *, reduction: int, initial_bias: float, temperature: float
    ) -> None:
        super().__init__(initial_bias=initial_bias, temperature=temperature)
        num_squeezed = num_squeezed_channels(num_channels, reduction=reduction)
        self.squeeze = nn.Conv2d(num_channels, num_squeezed, 1)
        self.excite = zero_init(nn.Conv2d(num_squeezed, num_channels, 1, bias=False))

    def logits(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        hidden_BDHW = torch.relu(self.squeeze(features_BCHW))
        # The convolution applies bias and temperature, which saves a pass over the map.
        bias_C = (self.bias / self.temperature).expand(self.excite.out_channels)
        return F.conv2d(hidden_BDHW, self.excite.weight / self.temperature, bias_C)


def squeeze_and_excite(num_channels: int, *, reduction: int) -> tuple[nn.Linear, nn.Linear]:
    """Return the two layers of a squeeze-and-excitation, the second zero-initialised."""
    num_squeezed = num_squeezed_channels(num_channels, reduction=reduction)
    squeeze = nn.Linear(num_channels, num_squeezed)
    return squeeze, zero_init(nn.Linear(num_squeezed, num_channels, bias=False))


def spatial_convolution(kernel: int) -> nn.Conv2d:
    """Return a zero-initialised convolution of one map that keeps its size.

    Padding repeats the border: zero padding would reveal where the image ends.
    """
    return zero_init(
        nn.Conv2d(1, 1, kernel, padding=kernel // 2, padding_mode="replicate", bias=False)
    )


def channel_logits(features_BCHW: Tensor, squeeze: nn.Linear, excite: nn.Linear) -> Tensor:
    """Return excite(relu(squeeze(mean of F over H, W))), (B, C)."""
    return excite(torch.relu(squeeze(mean_over_positions(features_BCHW))))


def num_squeezed_channels(num_channels: int, *, reduction: int) -> int:
    """Return the number of channels of a bottleneck: C / reduction, at least 4."""
    return max(4, num_channels // reduction)


def zero_init(layer: Layer) -> Layer:
    """Set a layer's weights to zero; return it."""
    nn.init.zeros_(layer.weight)
    return layer
