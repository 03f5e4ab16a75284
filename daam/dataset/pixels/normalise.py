"""The keys of images for their random augmentation, and the normalisation of uint8 batches.

An augmentation depends on the image's key alone (see `augmentation`), never on the threads,
ranks or other images of the batch.

Shapes: B = images, H = height, W = width, C = 3 colour channels (RGB).
"""

from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from daam.dataset.draws import draw_bits
from daam.dataset.pixels.augmentation import IMAGENET_MEAN
from daam.dataset.pixels.buffers import BatchMemory

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


def normalise(images: Tensor) -> Tensor:
    """Bring (B, H, W, 3) uint8 to ImageNet's mean and standard deviation.

    Returns:
        (B, 3, H, W) float32 on the same device, in channels-last memory format.
    """
    scale, shift = _normalising_constants(images.device, images.shape[2])
    # Whole lines of pixels at once: with 3 colours as the last axis it takes three times as long.
    lines = images.flatten(2)
    if images.device.type == "cpu":
        # A batch at a time: image by image it stays in the processor's cache, but every operation
        # hands the interpreter's lock to the threads that decode and waits to get it back.
        normalised = _memory_of(tuple(lines.shape)).take()
        torch.addcmul(shift, normalised.copy_(lines), scale, out=normalised)
    else:
        normalised = torch.addcmul(shift, lines.float(), scale)
    return normalised.view(images.shape).permute(0, 3, 1, 2)


@lru_cache(maxsize=2)  # shapes: of training and of tests
def _memory_of(shape: tuple[int, ...]) -> BatchMemory:
    return BatchMemory(shape, dtype=np.float32)


@cache
def _normalising_constants(device: torch.device, width: int) -> tuple[Tensor, Tensor]:
    """Scale and shift of a line of `width` pixels: (3 * width,) each."""
    # Kept for each device: making them anew would stop the host until the device has caught up.
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64).repeat(width)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64).repeat(width)
    return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)
