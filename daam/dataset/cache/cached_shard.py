"""A shard of a remote store: its images from the cache, or by ranged reads into it."""

import bisect
import threading
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from daam.dataset.cache.shard_cache import ShardCache
from daam.dataset.cache.shard_file import ShardFile
from daam.dataset.cache.traffic import TRAFFIC
from daam.dataset.format.download import missing_file
from daam.dataset.format.mapped_shard import damaged_shard
from daam.dataset.format.shard_index import ShardIndex
from daam.storage import MissingKeyError, Store

PART_SIZE_BYTES = 4 << 20  # a store 20 to 100 ms away sends it in about as long as it takes to ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Consecutive rows of a shard, fetched with one request: bytes `start` to `end` of its file."""

    rows: range
    start: int
    end: int


class CachedShard:
    """The images of one shard, as one process sees them. Any number of threads may use it.

    What is fetched into the cache is fetched under the lock of its part of the shard, so that no
    other thread or process of the node fetches it too.

    Attributes:
        index: of the shard.
        num_parts: of about 4 MiB each; row r is in part `part_of(r)`.
    """

    def __init__(self, store: Store, *, index: ShardIndex, cache: ShardCache) -> None:
        self.index = index
        self.num_parts = -(-index.entry.size_bytes // PART_SIZE_BYTES)
        self._store = store
        self._cache = cache
        self._file: ShardFile | None = None
        self._opening = threading.Lock()

    def image(self, row: int) -> memoryview | None:
        """The JPEG of a row without a copy; None if it is not in the cache, or damaged there."""
        file = self._file
        return None if file is None else file.image(row)

    def open(self, *, create: bool, timeout_s: float) -> bool:
        """Map the shard's file in the cache; return whether it is mapped.

        Args:
            create: make room for the file if there is none.
            timeout_s: how long another process may hold the shard's lock.

        Raises:
            StorageError: the cache's folder cannot be used, or the disk is full.
        """
        with self._opening:
            if self._file is None:
                self._file = self._cache.open(self.index, create=create, timeout_s=timeout_s)
            return self._file is not None

    def release(self) -> None:
        """Unmap the file, so that it can be evicted; images that are still held stay valid."""
        with self._opening:
            if self._file is not None:
                self._file = None
                self._cache.retry_refused()

    def part_of(self, row: int) -> int:
        """The part in which a row's image begins."""
        return self.index.offsets[row] // PART_SIZE_BYTES

    def lock(self, part: int) -> AbstractContextManager[bool]:
        """Try to lock a part inside the block; yields whether it is held.

        Nothing needs to be locked, and so it is, if the cache has no room for the shard.

        Raises:
            StorageError: the cache's folder cannot be used.
        """
        if self._file is None:
            return nullcontext(enter_result=True)
        return self._cache.lock(f"{self.index.entry.sha256} {part}", timeout_s=0)

    def missing(self, part: int) -> list[int]:
        """The rows of a part that are not in the cache."""
        ends = (part * PART_SIZE_BYTES, (part + 1) * PART_SIZE_BYTES)
        first, last = (bisect.bisect_left(self.index.offsets, end) for end in ends)
        file, rows = self._file, range(first, last)
        return list(rows) if file is None else file.missing(rows)

    def fetch(self, span: Span, *, keep: bool) -> dict[int, memoryview]:
        """Read a span from the store and compare the checksums of its images.

        Damaged images are read again, once: they may have been damaged on the way.

        Args:
            span: one of `spans_of`.
            keep: write it to the cache, if that has room for the shard; the locks are held.

        Returns:
            The images of the span by row.

        Raises:
            ShardError: the store does not have the shard, or an image in it is damaged.
            StorageError: the store cannot be read, or the cache cannot be written.
        """
        data, images, damaged = self._read(span)
        if damaged:
            data, images, damaged = self._read(span)
        if damaged:
            raise damaged_shard(self.index, place=self._store.uri, row=damaged[0])
        file = self._file
        if keep and file is not None:
            with self._cache.as_storage_error():
                file.write(data, start=span.start, rows=span.rows)
        return images

    def spans_of(self, rows: Iterable[int]) -> list[Span]:
        """What to read for some rows of one part; consecutive rows share a request."""
        offsets, sizes = self.index.offsets, self.index.sizes
        runs: list[range] = []
        for row in sorted(rows):
            if runs and runs[-1].stop == row:
                runs[-1] = range(runs[-1].start, row + 1)
            else:
                runs.append(range(row, row + 1))
        return [
            Span(rows=run, start=offsets[run[0]], end=offsets[run[-1]] + sizes[run[-1]])
            for run in runs
        ]

    def _read(self, span: Span) -> tuple[bytes, dict[int, memoryview], list[int]]:
        """The bytes of a span, its images by row, and the rows of those that are damaged."""
        key, size = self.index.entry.key, span.end - span.start
        try:
            data = self._store.read_range(key, start=span.start, size=size)
        except MissingKeyError as error:
            raise missing_file(self._store, key) from error
        TRAFFIC.size_bytes += size
        view = memoryview(data)
        images: dict[int, memoryview] = {}
        for row in span.rows:
            start = self.index.offsets[row] - span.start
            images[row] = view[start : start + self.index.sizes[row]]
        checksums = self.index.checksums
        damaged = [row for row, image in images.items() if zlib.crc32(image) != checksums[row]]
        return data, images, damaged
