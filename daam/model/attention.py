"""Attention that splits a feature map into a shared and a specific part.

Shapes: B = images, C = channels, H and W = height and width of the feature map.
Source: DAAM, arXiv 1905.10529, "residual attention": what the shared part leaves over is specific.
"""

import torch
from torch import Tensor, nn


def split_features(features_BCHW: Tensor, attention_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Split features into shared = A * F and specific = F - shared.

    Args:
        features_BCHW: (B, C, H, W).
        attention_BCHW: (B, C, H, W) or what broadcasts to it, in (0, 1).
    """
    shared_BCHW = attention_BCHW * features_BCHW
    return shared_BCHW, features_BCHW - shared_BCHW


class FactorisedAttention(nn.Module):
    """A = sigmoid((channel(F) + spatial(F) + bias) / temperature).

    The channel part is a squeeze-and-excitation (Hu et al. 2018), the spatial part a convolution of
    the channel mean. Both begin at zero, so A starts as sigmoid(bias / temperature) everywhere and
    a pretrained feature map is scaled evenly, not torn.

    Args:
        num_channels: C.
        reduction: the squeeze keeps C / reduction channels, at least 4.
        initial_bias: 1.0 starts A near .73.
        kernel: odd width of the spatial convolution.
        temperature: above 1 softens A, below 1 sharpens it.
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
        super().__init__()
        num_squeezed = max(4, num_channels // reduction)
        self.squeeze = nn.Linear(num_channels, num_squeezed)
        self.excite = nn.Linear(num_squeezed, num_channels, bias=False)
        self.spatial = nn.Conv2d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.bias = nn.Parameter(torch.tensor(float(initial_bias)))
        self.temperature = temperature
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.spatial.weight)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return A(F), (B, C, H, W) in (0, 1)."""
        channel_BC = self.excite(torch.relu(self.squeeze(features_BCHW.mean(dim=(2, 3)))))
        spatial_B1HW = self.spatial(features_BCHW.mean(dim=1, keepdim=True))
        logit_BCHW = channel_BC[:, :, None, None] + spatial_B1HW + self.bias
        return torch.sigmoid(logit_BCHW / self.temperature)
