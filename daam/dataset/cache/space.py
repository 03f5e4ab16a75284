"""The space that shards may take in a cache folder, shared by all processes of the node."""

import errno
import fcntl
import logging
import math
import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from daam.dataset.cache.locks import file_lock, flock_within
from daam.errors import StorageError

LOCK_TIMEOUT_S = 30
REFUSAL_S = 10
MANY_FILES = 1 << 16

log = logging.getLogger(__name__)


class NoRoomError(StorageError):
    """The cache has reached its size, and all that is in it is in use."""


class CacheSpace:
    """Makes room for shards by evicting the least recently opened that no process has mapped.

    A process that maps a file holds a shared lock on it, which the kernel releases with the
    mapping: there is no count that a crash could leave wrong.
    """

    def __init__(self, folder: Path, *, lock: Path, capacity_bytes: int | None) -> None:
        """
        Args:
            folder: of the shards.
            lock: the file of the lock under which room is made.
            capacity_bytes: most bytes of shards; None is as many as the disk holds.
        """
        self._folder = folder
        self._lock = lock
        self._capacity_bytes = capacity_bytes
        self._refused: tuple[float, float] = (math.inf, 0)

    @contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        """Make room for a file that the block creates; no other process can claim it until then.

        Raises:
            NoRoomError: too much of the cache is in use, or was some seconds ago.
        """
        too_large, until = self._refused
        if size_bytes >= too_large and time.monotonic() < until:
            raise self._full()
        with file_lock(self._lock, timeout_s=LOCK_TIMEOUT_S) as is_held:
            if not is_held:
                raise NoRoomError(f"{self._lock} has been held by another process for too long")
            self._make_room(size_bytes)
            yield

    def retry_refused(self) -> None:
        """Try again to make room: a shard was released."""
        self._refused = (math.inf, 0)

    def _make_room(self, size_bytes: int) -> None:
        if self._capacity_bytes is None:
            return
        files = sorted(self._files())
        excess = sum(size for _, size, _ in files) + size_bytes - self._capacity_bytes
        with ExitStack() as stack:
            unused: list[Path] = []
            for _, size, path in files if size_bytes <= self._capacity_bytes else ():
                if excess <= 0:
                    break
                if (descriptor := _locked_if_unused(path)) is not None:
                    stack.callback(_unlock, descriptor)
                    unused.append(path)
                    excess -= size
            # Nothing is evicted for a shard that does not fit anyway.
            if excess > 0:
                self._refused = size_bytes, time.monotonic() + REFUSAL_S
                raise self._full()
            for path in unused:
                path.unlink()
                log.info("evicted %s from the cache", path.name)

    def _full(self) -> NoRoomError:
        return NoRoomError(
            f"the cache {self._folder.parent} has reached {(self._capacity_bytes or 0) / 1e9:g} GB "
            "and all of it is in use; a larger data.cache_gb keeps more"
        )

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """When each was last opened, its bytes, its path."""
        for file in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # another process just evicted it
                status = file.stat(follow_symlinks=False)
                yield status.st_mtime_ns, status.st_size, Path(file.path)


def _locked_if_unused(path: Path) -> int | None:
    """Keep processes from mapping a file until `_unlock`; None if one has it mapped."""
    try:
        # For less than O_RDWR, NFS gives no exclusive lock.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # just evicted, another user's, or a link
        return None
    if flock_within(descriptor, fcntl.LOCK_EX, timeout_s=0):
        return descriptor
    os.close(descriptor)
    return None


def _unlock(descriptor: int) -> None:
    # A child forked since would keep the lock if the file were only closed.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def allow_many_files() -> None:
    """Raise this process's limit on open files as far as allowed: a shard in use takes one.

    Where the system allows less than it reports, as macOS does, the limit stays as it is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def as_storage_error(directory: Path) -> Iterator[None]:
    """Convert OSErrors in the block to StorageErrors that name the setting to change."""
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
                f"too many open files: each shard of the cache {directory} in use needs one; "
                "raise the limit (ulimit -n 65536)"
            ) from error
        raise StorageError(
            f"cannot use the cache folder {directory}: {error}; choose another by data.cache"
        ) from error
