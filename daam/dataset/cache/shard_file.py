"""One shard's file in the cache, mapped while its images arrive, in any order from any process.

    {folder}/{sha256}.images    the shard's bytes, each at its place, then a mark per row: 1 = here

A row is marked after its image was written, but a power cut may keep the mark and lose the image.
Marks are hints: every process compares an image's checksum before it uses it for the first time.
"""

import errno
import fcntl
import logging
import mmap
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from daam.dataset.cache.locks import flock_within
from daam.dataset.cache.space import CacheSpace, NoRoomError
from daam.dataset.format.manifest import ShardEntry
from daam.dataset.format.shard_index import ShardIndex
from daam.storage.private import PRIVATE_FILE, open_own

EVICTION_TIMEOUT_S = 1

log = logging.getLogger(__name__)


class ShardFile:
    """A mapping of the file. Any number of threads and processes may read and write.

    It holds a shared lock on the file as long as it or a view of it lives, so that the file is not
    evicted.
    """

    def __init__(self, path: Path, *, index: ShardIndex, space: CacheSpace) -> None:
        """Map the file, creating it if need be; the shard's lock must be held.

        Raises:
            NoRoomError: there is no room for it in the cache.
            OSError: the folder cannot be used, or the disk is full.
        """
        self._path = path
        self._index = index
        while (mapped := self._map()) is None:
            with space.reserved(cached_size_bytes(self._index.entry)):
                self._create()
        self._images = memoryview(mapped)[: index.entry.size_bytes].toreadonly()
        self._marks = memoryview(mapped)[index.entry.size_bytes :]
        self._is_checked = bytearray(index.entry.num_rows)

    def image(self, row: int) -> memoryview | None:
        """The JPEG of a row without a copy; None if it is missing or damaged."""
        start = self._index.offsets[row]
        image = self._images[start : start + self._index.sizes[row]]
        if not self._is_checked[row]:
            if not self._marks[row] or zlib.crc32(image) != self._index.checksums[row]:
                return None
            self._is_checked[row] = 1
        return image

    def missing(self, rows: range) -> list[int]:
        """Those of some rows that are not marked."""
        marks = np.frombuffer(self._marks, np.uint8)[rows.start : rows.stop]
        return (rows.start + np.flatnonzero(marks == 0)).tolist()

    def write(self, data: bytes, *, start: int, rows: Iterable[int]) -> None:
        """Write bytes of the shard, whose images were checked, and mark their rows.

        Raises:
            OSError: they cannot be written.
        """
        descriptor = open_own(self._path, os.O_WRONLY)
        try:
            rest = memoryview(data)
            while rest:
                written = os.pwrite(descriptor, rest, start)
                start, rest = start + written, rest[written:]
        finally:
            os.close(descriptor)
        for row in rows:
            self._marks[row] = self._is_checked[row] = 1

    def _map(self) -> mmap.mmap | None:
        """Map what is there; None if that is nothing, or not valid."""
        try:
            descriptor = open_own(self._path, os.O_RDWR)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            log.warning("%s; creating it again", error)
            self._path.unlink()
            return None
        try:
            # Waits while another process evicts the file, which takes a moment.
            if not flock_within(descriptor, fcntl.LOCK_SH, timeout_s=EVICTION_TIMEOUT_S):
                raise NoRoomError(f"{self._path} has been locked by another process for too long")
            status = os.fstat(descriptor)
            if status.st_nlink == 0:
                return None
            if status.st_size != cached_size_bytes(self._index.entry):
                log.warning("%s is not a valid file of the cache; creating it again", self._path)
                self._path.unlink()
                return None
            os.utime(descriptor)  # the least recently opened are evicted first
            return mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)

    def _create(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        try:
            _allocate(descriptor, size_bytes=cached_size_bytes(self._index.entry))
        except OSError:
            self._path.unlink()
            raise
        finally:
            os.close(descriptor)


def cached_size_bytes(entry: ShardEntry) -> int:
    """Bytes that a shard takes in the cache."""
    return entry.size_bytes + entry.num_rows


def _allocate(descriptor: int, *, size_bytes: int) -> None:
    """Fill a file with zeros, so that a full disk is an error before anything is fetched."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        else:
            return
    os.ftruncate(descriptor, size_bytes)
