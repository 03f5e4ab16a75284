"""Normalisation of uint8 batches.

Shapes: B = images, H = height, W = width, C = 3 colour channels (RGB).
"""

from functools import cache

import torch
from torch import Tensor

from daam.dataset.pixels.augmentation import IMAGENET_MEAN

IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """Normalise (B, H, W, 3) uint8 by ImageNet's mean and standard deviation.

    Returns:
        (B, 3, H, W) float32 on the same device, in channels-last memory format.
    """
    scale, shift = _normalising_constants(images.device, images.shape[2])
    # Whole lines of pixels: with the 3 colours as last axis it takes three times as long.
    lines = images.flatten(2)
    # The batch at once: image by image it would stay in the processor's cache, but every operation
    # passes the GIL to the threads that decode and waits to get it back.
    normalised = lines.float()
    torch.addcmul(shift, normalised, scale, out=normalised)
    return normalised.view(images.shape).permute(0, 3, 1, 2)


@cache
def _normalising_constants(device: torch.device, width: int) -> tuple[Tensor, Tensor]:
    """Scale and shift of a line of `width` pixels: (3 * width,) each."""
    # Cached per device: creating them would block the host until the device has caught up.
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64).repeat(width)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64).repeat(width)
    return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)
