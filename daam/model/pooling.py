"""From a feature map to one vector per image. Shapes: B = images, C = channels, H, W = size."""

import torch
from torch import Tensor, nn

FLOOR = 1e-6


class AveragePooling(nn.Module):
    """The mean over all positions."""

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, C)."""
        return mean_over_positions(features_BCHW)


class GemPooling(nn.Module):
    """The generalised mean (mean of x^p)^(1/p); one p for all channels, learned, initially 3.

    p = 1 is the average, p towards infinity the maximum. Source: Radenovic et al. 2017,
    arXiv:1711.02512, equation 3. Features are clamped to at least 1e-6 and p to at least 1, so that
    no gradient is infinite. Computed in float32, and relative to the largest feature of each
    channel, so that no power overflows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(3.0))

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, C) float32, positive."""
        with torch.autocast(features_BCHW.device.type, enabled=False):
            p = self.p.clamp(min=1.0)
            positive_BCHW = features_BCHW.float().clamp(min=FLOOR)
            largest_BC11 = positive_BCHW.detach().amax(dim=(2, 3), keepdim=True)
            mean_BC = (positive_BCHW / largest_BC11).pow(p).mean(dim=(2, 3))
            return mean_BC.pow(1 / p) * largest_BC11[:, :, 0, 0]


def mean_over_positions(features_BCHW: Tensor) -> Tensor:
    """Return the mean over height and width, (B, C).

    The gradient of a sum divided afterwards is a broadcast view; `Tensor.mean` writes its gradient
    out for every position, which on a CPU costs as much as the mean itself.
    """
    return features_BCHW.sum(dim=(2, 3)) / (features_BCHW.shape[2] * features_BCHW.shape[3])


def mean_over_channels(features_BCHW: Tensor) -> Tensor:
    """Return the mean over the channels, (B, 1, H, W); see `mean_over_positions`."""
    return features_BCHW.sum(dim=1, keepdim=True) / features_BCHW.shape[1]
