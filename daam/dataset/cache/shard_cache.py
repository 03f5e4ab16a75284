"""The cache of a node: what was fetched from remote stores, shared by all its processes.

    {directory}/shards/             image shards, see `ShardFile`
    {directory}/files/{sha256}      indexes and labels, whole
    {directory}/locks/              lock files

It is private: an image is checked by a CRC-32, which finds damage but no forgery, and a file that
is mapped can change after any check. So folders are 0700, files 0600, and a folder that another
user may write to is refused. To share a domain, share a local copy of it (`daam data copy`), which
needs no cache.

Indexes and labels, some bytes per row, are kept until the folder is removed; shards are evicted to
make room for others once no process uses them.
"""

import hashlib
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from daam.dataset.cache.locks import file_lock
from daam.dataset.cache.shard_file import ShardFile
from daam.dataset.cache.space import CacheSpace, NoRoomError, allow_many_files, as_storage_error
from daam.dataset.format.download import checked_chunks
from daam.dataset.format.manifest import ShardEntry
from daam.dataset.format.shard_index import ShardIndex
from daam.errors import ShardError
from daam.storage import Store
from daam.storage.atomic import atomic_write, remove_unfinished
from daam.storage.local import absolute_folder
from daam.storage.private import PRIVATE_FILE, open_own, own_folder

FILES_AT_ONCE = 4
FILE_TIMEOUT_S = 30
NUM_LOCKS = 1024  # files; names are hashed to them, so two names may share a lock

log = logging.getLogger(__name__)


class ShardCache:
    """Files of remote stores on local disk, for all processes that name the same directory.

    Attributes:
        capacity_bytes: most bytes of image shards; None is as many as the disk holds, 0 keeps none.
    """

    def __init__(self, directory: Path, *, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self._directory = absolute_folder(directory)
        self._shards = self._directory / "shards"
        self._files = self._directory / "files"
        self._locks = self._directory / "locks"
        self._space = CacheSpace(
            self._shards, lock=self._locks / "space", capacity_bytes=capacity_bytes
        )
        self._has_warned = capacity_bytes == 0
        allow_many_files()

    def fetch(self, store: Store, entry: ShardEntry) -> Path:
        """A local file with exactly the bytes of an index or labels file; never write to it.

        One in a local folder is used where it is. One in a remote store is downloaded once for all
        processes of the node. Its checksum is compared at every call.

        Raises:
            ShardError: the file is missing in the store, or its bytes are not what the manifest
                says.
            StorageError: the store cannot be read, the disk is full, or other users may write to
                the cache.
        """
        original = store.local_path(entry.key)
        if original is not None:
            for _ in checked_chunks(store, entry):
                pass
            return original
        path = self._files / f"{entry.sha256}.arrow"
        with self.as_storage_error():
            for folder in (self._directory, self._shards, self._files, self._locks):
                own_folder(folder, instead="choose another by data.cache")
            if not _has_bytes_of(entry, path):
                with self.lock(entry.sha256, timeout_s=FILE_TIMEOUT_S) as is_held:
                    if not _has_bytes_of(entry, path):
                        if not is_held:
                            # Two downloads do no harm: each writes to a temporary file first.
                            log.warning(
                                "%s: another process has been fetching it for %d s; fetching it "
                                "here as well",
                                store.locate(entry.key),
                                FILE_TIMEOUT_S,
                            )
                        _download(store, entry, path)
        return path

    def fetch_all(self, store: Store, entries: Sequence[ShardEntry]) -> list[Path]:
        """As `fetch`, for many files, several at once."""
        with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="daam-files") as pool:
            return list(pool.map(lambda entry: self.fetch(store, entry), entries))

    def open(self, index: ShardIndex, *, create: bool, timeout_s: float) -> ShardFile | None:
        """The file of a shard; None if the cache has no room for it or its lock is held too long.

        Args:
            index: of the shard.
            create: create the file if there is none; otherwise return None.
            timeout_s: how long to wait for the lock.

        Raises:
            StorageError: the folder cannot be used, or the disk is full.
        """
        path = self._shards / f"{index.entry.sha256}.images"
        if not create and not path.exists():
            return None
        with self.lock(index.entry.sha256, timeout_s=timeout_s) as is_held, self.as_storage_error():
            try:
                return ShardFile(path, index=index, space=self._space) if is_held else None
            except NoRoomError as error:
                if not self._has_warned:
                    self._has_warned = True
                    # A log record that keeps the error would keep what its frames have mapped.
                    reason = str(error)
                    log.warning(
                        "images are read from the store each time they are needed: %s", reason
                    )
                return None

    def retry_refused(self) -> None:
        """Try again to make room: a shard was released."""
        self._space.retry_refused()

    @contextmanager
    def lock(self, name: str, *, timeout_s: float) -> Iterator[bool]:
        """Try to acquire the lock of that name, as `locks.file_lock`.

        Raises:
            StorageError: the folder cannot be used.
        """
        number = zlib.crc32(name.encode()) % NUM_LOCKS
        with ExitStack() as stack:
            with self.as_storage_error():
                is_held = stack.enter_context(
                    file_lock(self._locks / f"{number:04}", timeout_s=timeout_s)
                )
            yield is_held

    def as_storage_error(self) -> AbstractContextManager[None]:
        """Convert OSErrors in the block to StorageErrors that name the setting to change."""
        return as_storage_error(self._directory)


def _download(store: Store, entry: ShardEntry, path: Path) -> None:
    remove_unfinished(path.parent)
    try:
        atomic_write(path, checked_chunks(store, entry), mode=PRIVATE_FILE)
    except ShardError as error:
        # The bytes may have been damaged on the way: the store is to blame if they are so twice.
        log.warning("%s; reading it again", error)
        atomic_write(path, checked_chunks(store, entry), mode=PRIVATE_FILE)


def _has_bytes_of(entry: ShardEntry, path: Path) -> bool:
    try:
        with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except (FileNotFoundError, PermissionError):  # missing, or not this user's: it is replaced
        return False
