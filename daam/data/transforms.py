"""Random augmentation of uint8 batches, and their normalisation.

What happens to an image depends on its key alone (see `augmentation_keys`), never on the threads,
ranks or other images of the batch.

Shapes: B = images, H = height, W = width, C = 3 colour channels (RGB).
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from daam.data.draws import draw_bits
from daam.data.variation import (
    IMAGENET_MEAN,
    Augmentation,
    draw_variation,
    vary_each,
    vary_together,
)

IMAGENET_STD = (0.229, 0.224, 0.225)


def augmentation_keys(rows: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
    """One key for each image of a *global* batch: (B,) uint64.

    A row that is in the batch several times gets another key each time.
    """
    order = np.argsort(rows, kind="stable")
    index = np.arange(len(rows))
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = rows[order[1:]] != rows[order[:-1]]
    occurrence = np.empty_like(index)
    occurrence[order] = index - np.maximum.accumulate(np.where(begins, index, 0))
    return draw_bits(seed, epoch, step, rows, occurrence)


def augment(images: Tensor, *, augmentation: Augmentation, keys: np.ndarray) -> Tensor:
    """Vary images at random: first colour, then flip, pad and crop, then erasing.

    Padding and erased pixels get ImageNet's mean colour, which normalises to about 0.

    Args:
        images: (B, H, W, 3) uint8, on any device; not changed.
        augmentation: how strongly.
        keys: (B,) uint64, from `augmentation_keys`.

    Returns:
        (B, H, W, 3) uint8, on the same device.

    Raises:
        ConfigError: the padding is as large as the image.
    """
    height, width = images.shape[1:3]
    variation = draw_variation(augmentation, keys=keys, height=height, width=width)
    if images.device.type == "cpu":
        output = torch.empty_like(images, memory_format=torch.contiguous_format)
        vary_each(images.numpy(), variation, out=output.numpy())
        return output
    return vary_together(images, variation.moved(images.device))


def normalise(images: Tensor) -> Tensor:
    """Bring (B, H, W, 3) uint8 to ImageNet's mean and standard deviation.

    Returns:
        (B, 3, H, W) float32 on the same device, in channels-last memory format.
    """
    scale, shift = _normalising_constants(images.device)
    return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)


@cache
def _normalising_constants(device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept for each device: making them anew would stop the host until the device has caught up.
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)
