"""Tensors to where they are needed, without waiting for the device where that can be."""

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a copy to a GPU goes through pinned memory.

    From ordinary memory, even a few bytes would wait until all work given to the GPU is done. A
    copy back from a GPU is waited for: what it is copied to could be read before it is there.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type == "cuda")


def memory_for(shape: tuple[int, ...], *, device: torch.device | None) -> Tensor:
    """Return empty uint8 memory on the CPU, pinned if it will be copied to a GPU."""
    pinned = device is not None and device.type == "cuda"
    return torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
