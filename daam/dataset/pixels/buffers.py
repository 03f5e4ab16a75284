"""Memory for pixels, and transfers to a device without waiting for it."""

import math
import weakref
from collections import deque

import numpy as np
import torch
from torch import Tensor

_MOST_FREE = 8
# libjpeg-turbo writes past the cache to memory aligned to 32 bytes, though the pixels are read
# next: decoding takes a tenth longer, and the copy that follows more.
_GRID, _OFF_THE_GRID = 32, 16


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a copy to a GPU goes through pinned memory.

    From pageable memory, even a few bytes would wait until all work queued on the GPU is done. A
    copy back from a GPU is synchronous: otherwise it could be read before it has arrived.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type == "cuda")


def pixel_memory(shape: tuple[int, ...]) -> np.ndarray:
    """New uint8 memory with any values in it, aligned so that JPEGs decode fast to it."""
    size = math.prod(shape)
    memory = np.empty(size + _GRID, dtype=np.uint8)
    begin = (_OFF_THE_GRID - memory.ctypes.data) % _GRID
    return memory[begin : begin + size].reshape(shape)


class BatchMemory:
    """CPU memory for one batch after another, reused once nothing refers to a batch any more.

    The system maps new memory page by page as it is written to, which can take as long as filling
    it does. Any number of threads may take.
    """

    def __init__(self, shape: tuple[int, ...], *, dtype: type[np.generic] = np.uint8) -> None:
        self._shape = shape
        self._dtype = dtype
        self._free: deque[np.ndarray] = deque(maxlen=_MOST_FREE)

    def take(self) -> Tensor:
        """Return a tensor that shares memory with no other, with any values in it."""
        if math.prod(self._shape) == 0:
            return torch.from_numpy(np.empty(self._shape, self._dtype))
        try:
            memory = self._free.pop()
        except IndexError:
            is_pixels = self._dtype is np.uint8
            memory = pixel_memory(self._shape) if is_pixels else np.empty(self._shape, self._dtype)
        # Tensors and arrays made of `lease` keep it alive, views of them too. NumPy would replace
        # a plain view of `memory` by `memory` itself as the base of further views; this one not.
        lease = np.frombuffer(memory.reshape(-1).data, self._dtype)
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return torch.from_numpy(lease.reshape(self._shape))


class PinnedMemory:
    """The same for batches that will be copied to a GPU. PyTorch itself reuses pinned memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape

    def take(self) -> Tensor:
        size = math.prod(self._shape)
        memory = torch.empty(size + _GRID, dtype=torch.uint8, pin_memory=True)
        begin = (_OFF_THE_GRID - memory.data_ptr()) % _GRID
        return memory[begin : begin + size].view(self._shape)
