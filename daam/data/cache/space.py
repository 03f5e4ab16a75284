"""The space that shards may take in a cache folder, shared by all processes of the node."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from daam.data.cache.locks import held
from daam.errors import StorageError

PATIENCE_S = 30
WHOLE, FILLING, PIECES = ".arrow", ".filling", ".pieces"

log = logging.getLogger(__name__)


class NoRoomError(StorageError):
    """The cache has reached its size, and all that is in it is in use."""


class CacheSpace:
    """Makes room for a shard by removing those opened least recently that no process has mapped.

    Whoever maps a file holds a shared lock on it, which the kernel ends with the mapping: nothing
    is counted anywhere that a crash could leave wrong.

    Attributes:
        capacity_bytes: most bytes of shards; None is as many as the disk holds.
    """

    def __init__(self, folder: Path, *, lock: Path, capacity_bytes: int | None) -> None:
        self.capacity_bytes = capacity_bytes
        self._folder = folder
        self._lock = lock

    @contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        """Make room for a file that the block creates; nobody else gets that room meanwhile.

        Raises:
            NoRoomError: too much of what is there is in use.
        """
        with held(self._lock, patience_s=PATIENCE_S) as is_held:
            if not is_held:
                raise NoRoomError(f"{self._lock} has been held by another process for too long")
            self._make_room(size_bytes)
            yield

    def _make_room(self, size_bytes: int) -> None:
        if self.capacity_bytes is None:
            return
        shards = sorted(self._shards())
        excess = sum(size for _, size, _ in shards) + size_bytes - self.capacity_bytes
        with ExitStack() as stack:
            unused: list[Path] = []
            for _, size, path in shards if size_bytes <= self.capacity_bytes else ():
                if excess <= 0:
                    break
                if stack.enter_context(_unused(path)):
                    unused.append(path)
                    excess -= size
            # Nothing is removed for a shard that does not get in anyway.
            if excess > 0:
                raise NoRoomError(
                    f"the cache {self._folder.parent} has reached {self.capacity_bytes / 1e9:g} GB "
                    "and all of it is in use"
                )
            for path in unused:
                path.unlink()
                path.with_suffix(PIECES).unlink(missing_ok=True)
                log.info("removed %s from the cache to make room", path.name)

    def _shards(self) -> Iterator[tuple[int, int, Path]]:
        """When each was last opened, its bytes, its file."""
        for file in os.scandir(self._folder):
            if file.name.endswith((WHOLE, FILLING)):
                with suppress(FileNotFoundError):  # it was just renamed
                    status = file.stat()
                    yield status.st_mtime_ns, status.st_size, Path(file.path)


@contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Keep other processes from mapping a file inside the block, unless one has it mapped."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # it was just renamed
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn errors of the file system inside the block into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"no space left for a shard in the cache {directory}; free some, choose another "
                "disk by data.cache, or a smaller data.cache_gb"
            ) from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise StorageError(
                f"too many open files: each shard of the cache {directory} in use needs two; raise "
                "the limit (ulimit -n 65536)"
            ) from error
        raise StorageError(
            f"cannot use the cache folder {directory}: {error}; choose another by data.cache"
        ) from error
