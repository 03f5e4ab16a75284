"""Pixels by row, kept decoded if the data set is small.

Shapes: N = rows of the data set, B = rows read, H = height, W = width; RGB, channels last.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from daam.dataset.pixels.buffers import pixel_memory
from daam.dataset.pixels.decode import Jpeg, decode_into


class ImageSource(Protocol):
    """Encoded images by row, such as an `ImageTable`."""

    @property
    def num_rows(self) -> int: ...

    @property
    def cameras(self) -> np.ndarray | None:
        """(N,) integers; None: unknown."""
        ...

    @property
    def tracks(self) -> np.ndarray | None:
        """(N,) integers; None: unknown."""
        ...

    def jpegs(self, rows: np.ndarray, /) -> Sequence[Jpeg]:
        """One for each of (B,) integers."""
        ...

    def place(self, row: int, /) -> str:
        """Where a row's image is, for messages: `row 3 of shard plaza/train-….arrow`."""
        ...

    @property
    def shards(self) -> tuple[range, ...]:
        """The rows of each shard, in order."""
        ...

    def prefetch(self, shard_numbers: Iterable[int], /) -> None:
        """Fetch shards in the background."""
        ...

    def release(self, shard_numbers: Iterable[int], /) -> None:
        """Let shards be evicted if not all fit into the cache."""
        ...


class Pixels(Protocol):
    """Pixels by row, in the memory of a device."""

    @property
    def source(self) -> ImageSource:
        """What is decoded."""
        ...

    @property
    def num_rows(self) -> int: ...

    @property
    def cameras(self) -> np.ndarray | None:
        """(N,) integers; None: unknown."""
        ...

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        ...

    def read(self, rows: np.ndarray, /) -> Tensor:
        """The pixels of rows, in their order and with repeats: (B, H, W, 3) uint8."""
        ...


class PixelReader:
    """Pixels by row, decoded in the calling thread; any number of threads may read at once.

    If the pixels of all rows fit into `keep_decoded_bytes`, they are kept once decoded, so that
    later epochs (and other passes with the same reader) copy them instead. Otherwise none are kept.
    Two domains in each of two processes keep at most 128 MiB by default.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        height: int,
        width: int,
        keep_decoded_bytes: int = 32 * 2**20,
    ) -> None:
        self.height = height
        self.width = width
        self.device = torch.device("cpu")
        self.source = source
        self.num_rows = source.num_rows
        self.cameras = source.cameras
        self._kept: np.ndarray | None = None
        if source.num_rows * height * width * 3 <= keep_decoded_bytes:
            # The system maps these pages only when pixels are written to them.
            self._kept = np.empty((source.num_rows, height, width, 3), dtype=np.uint8)
        self._is_kept = np.zeros(source.num_rows, dtype=bool)

    def read(self, rows: np.ndarray) -> Tensor:
        """Return the pixels of rows, in their order and with repeats: (B, H, W, 3) uint8, a copy.

        Raises:
            DataError: an image cannot be decoded; the message says where it is.
        """
        images = pixel_memory((len(rows), self.height, self.width, 3))
        self.read_into(images.numpy(), rows)
        return images

    def read_into(self, images: np.ndarray, rows: np.ndarray) -> None:
        """Write what `read` returns to `images`, (B, H, W, 3) uint8, each of them contiguous."""
        if self._kept is None:
            self._decode_into(images, rows)
            return
        missing = np.unique(rows[~self._is_kept[rows]])
        if len(missing):
            # No lock: two threads that decode the same row write the same bytes, and a row is
            # marked only after its bytes are written.
            decoded = np.empty((len(missing), self.height, self.width, 3), np.uint8)
            self._decode_into(decoded, missing)
            self._kept[missing] = decoded
            self._is_kept[missing] = True
        np.take(self._kept, rows, axis=0, out=images)

    def _decode_into(self, images: np.ndarray, rows: np.ndarray) -> None:
        decode_into(
            images,
            self.source.jpegs(rows),
            place=lambda number: self.source.place(int(rows[number])),
        )
