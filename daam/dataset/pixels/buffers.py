"""Memory for pixels, and transfers to a device without waiting for it."""

import numpy as np
import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a copy to a GPU goes through pinned memory.

    From pageable memory, even a few bytes would wait until all work queued on the GPU is done. A
    copy back from a GPU is synchronous: otherwise it could be read before it has arrived.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type == "cuda")


def pixel_memory(shape: tuple[int, ...], *, pinned: bool = False) -> Tensor:
    """New uint8 memory with any values in it, for JPEGs to be decoded to."""
    if pinned:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    # Where memory is aligned to 32 bytes, as torch's always is and NumPy's for large arrays is not,
    # libjpeg-turbo writes past the cache, which takes a tenth longer.
    return torch.from_numpy(np.empty(shape, np.uint8))
