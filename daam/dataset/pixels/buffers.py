"""Memory for pixels, and tensors to where they are needed without waiting for the device."""

import math
import sys
import threading

import numpy as np
import torch
from torch import Tensor

_MOST_REMEMBERED = 7  # a consumer that keeps its batches would make the list grow
# To memory aligned to 32 bytes libjpeg-turbo writes past the cache, where the pixels are wanted
# next: decoding to it takes a tenth longer, and copying from it more.
_GRID, _OFF_THE_GRID = 32, 16


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a copy to a GPU goes through pinned memory.

    From ordinary memory, even a few bytes would wait until all work given to the GPU is done. A
    copy back from a GPU is waited for: what it is copied to could be read before it is there.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type == "cuda")


def pixel_memory(shape: tuple[int, ...]) -> np.ndarray:
    """New memory for pixels, uint8 with any values in it, to which JPEGs are decoded quickly."""
    size = math.prod(shape)
    memory = np.empty(size + _GRID, dtype=np.uint8)
    begin = (_OFF_THE_GRID - memory.ctypes.data) % _GRID
    return memory[begin : begin + size].reshape(shape)


class BatchMemory:
    """CPU memory for one batch after another; what nobody refers to any more is used again.

    The system gives new memory page by page as it is written to, which can take as long as what is
    done to fill it. Any number of threads may take.
    """

    def __init__(self, shape: tuple[int, ...], *, dtype: type[np.generic] = np.uint8) -> None:
        self._shape = shape
        self._dtype = dtype
        self._taken: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self) -> Tensor:
        """Return a tensor that no other refers to, with any values in it."""
        with self._lock:
            for index in range(len(self._taken)):
                # One reference is the list's, one the call's; tensors and views add theirs.
                if sys.getrefcount(self._taken[index]) == 2:
                    return torch.from_numpy(self._taken[index])
            is_pixels = self._dtype is np.uint8
            new = pixel_memory(self._shape) if is_pixels else np.empty(self._shape, self._dtype)
            self._taken = [*self._taken[-_MOST_REMEMBERED:], new]
            return torch.from_numpy(new)


class PinnedMemory:
    """The same for batches that will be copied to a GPU. PyTorch itself uses such memory again."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape

    def take(self) -> Tensor:
        size = math.prod(self._shape)
        memory = torch.empty(size + _GRID, dtype=torch.uint8, pin_memory=True)
        begin = (_OFF_THE_GRID - memory.data_ptr()) % _GRID
        return memory[begin : begin + size].view(self._shape)
