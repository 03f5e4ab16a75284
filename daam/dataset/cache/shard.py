"""A shard of a remote store: its images from the cache, or by ranged reads into it."""

import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from daam.dataset.cache.file import CachedFile
from daam.dataset.cache.forks import renew_in_children
from daam.dataset.cache.shard_cache import ShardCache
from daam.dataset.cache.space import ROOM_RETRY_S
from daam.dataset.format.mapped_shard import damaged_shard
from daam.dataset.format.shard_index import ShardIndex
from daam.errors import ShardError
from daam.storage import MissingKeyError, Store

RANGE_SIZE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """Consecutive pieces of a shard (see `ShardIndex.bounds`), to be read at once."""

    start: int
    end: int
    pieces: tuple[int, ...]


class CachedShard:
    """The images of one shard, as one process sees them. Any number of threads may read.

    Attributes:
        index: of the shard.
    """

    def __init__(self, store: Store, *, index: ShardIndex, cache: ShardCache) -> None:
        self.index = index
        self._store = store
        self._cache = cache
        self._file: CachedFile | None = None
        self._opening = threading.Lock()
        self._no_room_until = 0.0
        self._was_damaged = False
        renew_in_children(self)

    def renew(self) -> None:
        """Forget who was opening the shard, in a process that has no other thread."""
        self._opening = threading.Lock()

    def image(self, row: int) -> memoryview | None:
        """The JPEG of a row without a copy, or None: it is not here, or not as it should be."""
        file = self._file
        if file is None:
            return None
        start = self.index.offsets[row]
        image = file.data[start : start + self.index.sizes[row]]
        if file.is_checked[row]:
            return image
        if file.has(2 * row + 1) and self._is_right(row, image):
            file.is_checked[row] = 1
            return image
        return None

    def open(self, *, patience_s: float) -> bool:
        """Map the shard's file in the cache, and return whether that is done.

        It is not when the cache has no room, which is asked again after some seconds, or when
        another process has held the shard's lock for all of the time.

        Raises:
            StorageError: the cache's folder cannot be used, or the disk is full.
        """
        with self._opening:
            if self._file is None and self.has_room:
                with self.lock(patience_s=patience_s) as is_held:
                    if is_held:
                        self._file = self._cache.open(self.index)
                        if self._file is None:
                            self._no_room_until = time.monotonic() + ROOM_RETRY_S
            return self._file is not None

    @property
    def has_room(self) -> bool:
        """Whether the cache may have room, as far as is known."""
        return time.monotonic() >= self._no_room_until

    def release(self) -> None:
        """Let the cache remove the file once nobody holds an image of it; it is opened anew when
        it is needed again."""
        with self._opening:
            if self._file is not None:
                self._file = None
                self._cache.look_again()

    def lock(self, *, patience_s: float) -> AbstractContextManager[bool]:
        """The lock under which pieces are fetched; yields whether it was got in time.

        Raises:
            StorageError: the cache's folder cannot be used.
        """
        return self._cache.lock(self.index.entry, patience_s=patience_s)

    def ranges_of(self, rows: Iterable[int]) -> list[ByteRange]:
        """What to read for images, the neighbours together."""
        pieces = (2 * row + 1 for row in sorted(rows))
        return list(_byte_ranges(self.index.bounds(), pieces, size_bytes=RANGE_SIZE_BYTES))

    def missing_ranges(self, *, size_bytes: int) -> Iterator[ByteRange]:
        """What to read for all that is not here, in ranges of about that size or less.

        Nothing if the shard is not open.
        """
        if self._file is not None:
            size_bytes = min(size_bytes, RANGE_SIZE_BYTES)
            pieces = self._file.missing().tolist()
            yield from _byte_ranges(self.index.bounds(), pieces, size_bytes=size_bytes)

    def num_missing_bytes(self) -> int:
        """How much is not here: all, if the shard is not open."""
        file = self._file
        if file is None:
            return self.index.entry.size_bytes
        return int(np.diff(self.index.bounds())[file.missing()].sum())

    def fetch(self, span: ByteRange, *, keep: bool) -> dict[int, memoryview]:
        """Read a range from the store and compare the checksums of its images.

        One that is wrong is read again: bytes do change on the way.

        Args:
            span: one of `ranges_of` or `missing_ranges`.
            keep: put it into the file too; the lock is held.

        Returns:
            The images of the range by row.

        Raises:
            ShardError: the store does not have the shard, or an image in it is damaged.
            StorageError: the store cannot be read, or the cache not be written.
        """
        data, images, wrong = self._read(span)
        if wrong:
            data, images, wrong = self._read(span)
        if wrong:
            raise damaged_shard(self.index, place=self._store.uri, row=wrong[0])
        file = self._file
        if keep and file is not None:
            with self._cache.explained():
                file.write(data, start=span.start, pieces=span.pieces)
            for row in images:
                file.is_checked[row] = 1
        return images

    def finish(self) -> bool:
        """Check a file of which nothing is missing as a whole; the lock is held.

        Returns:
            Whether it is right. If not, it was let go, or what is wrong in it is missing again.

        Raises:
            ShardError: it was wrong twice, so it is so in the store.
            StorageError: the cache cannot be written.
        """
        file = self._file
        if file is None:
            return False
        with self._cache.explained():
            if file.finish():
                return True
        if self._was_damaged:
            raise damaged_shard(self.index, place=self._store.uri)
        self._was_damaged = True
        file.is_checked[:] = bytes(self.index.entry.num_rows)
        between = range(0, 2 * self.index.entry.num_rows + 1, 2)
        wrong = [2 * row + 1 for row in range(self.index.entry.num_rows) if self.image(row) is None]
        file.forget([*between, *wrong])
        return False

    def _read(self, span: ByteRange) -> tuple[bytes, dict[int, memoryview], list[int]]:
        """The bytes of a range, its images by row, and the rows whose checksums are wrong."""
        key = self.index.entry.key
        try:
            data = self._store.read_range(key, start=span.start, size=span.end - span.start)
        except MissingKeyError as error:
            raise ShardError(
                f"{self._store.locate(key)} is missing: either the domain was replaced since "
                "this began (start again), or daam data verify tells how to repair it"
            ) from error
        view = memoryview(data)
        images: dict[int, memoryview] = {}
        for row in (piece // 2 for piece in span.pieces if piece % 2):
            start = self.index.offsets[row] - span.start
            images[row] = view[start : start + self.index.sizes[row]]
        return data, images, [row for row in images if not self._is_right(row, images[row])]

    def _is_right(self, row: int, image: memoryview) -> bool:
        return zlib.crc32(image) == self.index.checksums[row]


def _byte_ranges(
    bounds: np.ndarray, pieces: Iterable[int], *, size_bytes: int
) -> Iterator[ByteRange]:
    """Put pieces, in ascending order, together to ranges; those of no bytes are left out."""
    start = end = 0
    members: list[int] = []
    for piece in pieces:
        first, last = int(bounds[piece]), int(bounds[piece + 1])
        if first == last:
            continue
        if members and (first != end or last - start > size_bytes):
            yield ByteRange(start=start, end=end, pieces=tuple(members))
            members = []
        if not members:
            start = first
        members.append(piece)
        end = last
    if members:
        yield ByteRange(start=start, end=end, pieces=tuple(members))
