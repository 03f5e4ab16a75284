"""One shard's file in the cache, mapped while its pieces come in, one by one and from any process.

    {folder}/{sha256}.arrow      whole: its SHA-256 was found right
    {folder}/{sha256}.filling    the same file before that: all its space, some of its bytes
    {folder}/{sha256}.pieces     a byte for each of its pieces (`ShardIndex.bounds`): 1 if here

A piece is marked after it was written, but a power cut may keep the mark and lose the bytes: marks
are hints, and every process compares the checksum of an image before it uses it for the first time.
"""

import errno
import fcntl
import hashlib
import logging
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daam.dataset.cache.locks import lock_in_time
from daam.dataset.cache.space import FILLING, PIECES, WHOLE, CacheSpace, NoRoomError
from daam.dataset.format.shard_index import ShardIndex

REMOVAL_PATIENCE_S = 1

log = logging.getLogger(__name__)


class CachedFile:
    """Whoever writes or finishes holds the shard's lock; to read, nobody needs one.

    The mapping holds a shared lock on the file as long as it or a view of it lives, by which the
    cache knows that it must not remove it.

    Attributes:
        data: all bytes of the file, also those that are not here yet.
        is_checked: a byte a row, 1 if this process has found its image right.
    """

    def __init__(self, folder: Path, *, index: ShardIndex, space: CacheSpace) -> None:
        """Map the file, making it if need be; to be called with the shard's lock held.

        Raises:
            NoRoomError: there is no room for it in the cache, or a process that was about to
                remove it does not go on.
            OSError: the folder cannot be used, or the disk is full.
        """
        self._whole = folder / f"{index.entry.sha256}{WHOLE}"
        self._filling = self._whole.with_suffix(FILLING)
        self._pieces = self._whole.with_suffix(PIECES)
        self._entry = index.entry
        while (mapped := self._map()) is None:
            if not self._filling.exists():
                with space.reserved(index.entry.size_bytes):
                    self._create()
        self.data, self._marks = mapped
        self.is_checked = bytearray(index.entry.num_rows)

    def has(self, piece: int) -> bool:
        """Whether a piece is said to be here."""
        marks = self._marks
        return marks is None or marks[piece] == 1

    def missing(self) -> np.ndarray:
        """All pieces that are not here, also those of no bytes."""
        marks = self._marks
        if marks is None:
            return np.empty(0, np.int64)
        return np.flatnonzero(np.frombuffer(marks, np.uint8) != 1)

    def write(self, data: bytes, *, start: int, pieces: Sequence[int]) -> None:
        """Put bytes in their place, and then mark their pieces.

        Raises:
            OSError: they cannot be written.
        """
        path = self._filling if self._filling.exists() else self._whole
        descriptor = os.open(path, os.O_WRONLY)
        try:
            rest = memoryview(data)
            while rest:
                written = os.pwrite(descriptor, rest, start)
                start, rest = start + written, rest[written:]
        finally:
            os.close(descriptor)
        self._mark(pieces, 1)

    def forget(self, pieces: Sequence[int]) -> None:
        """Take back that pieces are here."""
        self._mark(pieces, 0)

    def finish(self) -> bool:
        """Give the file its name as a whole one, and return True, if its SHA-256 is right.

        A whole one needs no marks, so their open file is given back.

        Raises:
            OSError: the disk cannot be written.
        """
        if not self._filling.exists():  # another process was faster
            self._marks = None
            return True
        if hashlib.sha256(self.data).hexdigest() != self._entry.sha256:
            return False
        for path in (self._filling, self._filling.parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                if path == self._filling:
                    self._filling.replace(self._whole)
            finally:
                os.close(descriptor)
        self._pieces.unlink(missing_ok=True)
        self._marks = None
        return True

    def _mark(self, pieces: Sequence[int], mark: int) -> None:
        # Read once: another thread may find the file whole meanwhile.
        marks = self._marks
        if marks is not None:
            for piece in pieces:
                marks[piece] = mark

    def _map(self) -> tuple[memoryview, memoryview | None] | None:
        """Map what is there; None if that is nothing, or nothing that can be used."""
        path = self._whole if self._whole.exists() else self._filling
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            # Waits for the moment that it takes another process to remove the file.
            if not lock_in_time(descriptor, fcntl.LOCK_SH, patience_s=REMOVAL_PATIENCE_S):
                raise NoRoomError(f"{path} has been locked by another process for too long")
            status = os.fstat(descriptor)
            if status.st_nlink == 0:
                return None
            marks = None if path == self._whole else self._map_marks()
            if status.st_size != self._entry.size_bytes or (
                path == self._filling and marks is None
            ):
                log.warning("%s is no file of the cache as it should be; it is made anew", path)
                path.unlink()
                return None
            os.utime(descriptor)  # by which the least recently used are known
            data = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(descriptor)
        return data, marks

    def _map_marks(self) -> memoryview | None:
        num_pieces = 2 * self._entry.num_rows + 1
        try:
            with self._pieces.open("r+b") as file:
                if os.fstat(file.fileno()).st_size != num_pieces:
                    return None
                return memoryview(mmap.mmap(file.fileno(), 0))
        except FileNotFoundError:
            return None

    def _create(self) -> None:
        # The marks come first: a file of images never meets marks that were made for another.
        self._pieces.unlink(missing_ok=True)
        self._pieces.write_bytes(bytes(2 * self._entry.num_rows + 1))
        descriptor = os.open(self._filling, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            _reserve(descriptor, size_bytes=self._entry.size_bytes)
        except OSError:
            self._filling.unlink()
            self._pieces.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


def _reserve(descriptor: int, *, size_bytes: int) -> None:
    """Take the space now, so that a full disk is known before anything is fetched for it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        else:
            return
    os.ftruncate(descriptor, size_bytes)
