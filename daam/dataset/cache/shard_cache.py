"""The cache of a node: what was fetched from remote stores, for all its processes.

    {directory}/shards/             image shards, whole or filling, see `CachedFile`
    {directory}/files/{sha256}      indexes and labels, whole
    {directory}/locks/              held by whoever fetches

Indexes and labels, some bytes a row, are kept until the folder is removed; shards make room for
others once no process uses them.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from daam.dataset.cache.file import CachedFile
from daam.dataset.cache.locks import held
from daam.dataset.cache.space import (
    PATIENCE_S,
    CacheSpace,
    NoRoomError,
    allow_many_files,
    explained,
)
from daam.dataset.format.manifest import ShardEntry
from daam.dataset.format.shard_index import ShardIndex
from daam.errors import ShardError
from daam.storage import MissingKeyError, Store
from daam.storage.atomic import atomic_write
from daam.storage.local import absolute_folder
from daam.storage.store import CHUNK_SIZE_BYTES

FILES_AT_ONCE = 4

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
        self._locks = self._directory / "locks"
        self._space = CacheSpace(
            self._shards, lock=self._locks / "space", capacity_bytes=capacity_bytes
        )
        self._said_full = capacity_bytes == 0
        allow_many_files()

    def fetch(self, store: Store, entry: ShardEntry) -> Path:
        """A local file with exactly the bytes of an index or labels file; never write to it.

        One in a local folder is used where it is. Another is downloaded by whichever process asks
        first while the others wait, and appears under its name when its checksum was found right.
        Whoever has waited for half a minute downloads it too. The checksum is compared at every
        call.

        Raises:
            ShardError: the file is missing in the store, or its bytes are not what the manifest
                says.
            StorageError: the store cannot be read, or the disk is full.
        """
        try:
            original = store.local_path(entry.key)
            if original is not None:
                for _ in checked_chunks(store, entry):
                    pass
                return original
            path = self._directory / "files" / f"{entry.sha256}.arrow"
            with self.explained():
                if not _has_bytes_of(entry, path):
                    self.make_folders()
                    with self.lock(entry, patience_s=PATIENCE_S) as is_held:
                        if not _has_bytes_of(entry, path):
                            if not is_held:
                                # Whoever fetches it may hang. Two at once do no harm: each writes
                                # under a name of its own first.
                                log.warning(
                                    "%s: another process has been fetching it for %d s; fetching "
                                    "it here as well",
                                    store.locate(entry.key),
                                    PATIENCE_S,
                                )
                            _download(store, entry, path)
        except MissingKeyError as error:
            raise ShardError(
                f"{store.locate(entry.key)} is missing: either the domain was replaced since this "
                "began (start again), or daam data verify tells how to repair it"
            ) from error
        return path

    def fetch_all(self, store: Store, entries: Sequence[ShardEntry]) -> list[Path]:
        """As `fetch`, for many files, several at once."""
        with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="daam-files") as pool:
            return list(pool.map(lambda entry: self.fetch(store, entry), entries))

    def open(self, index: ShardIndex) -> CachedFile | None:
        """The file of a shard, made if need be; None if there is no room for it.

        The shard's lock must be held.

        Raises:
            StorageError: the folder cannot be used, or the disk is full.
        """
        with self.explained():
            try:
                return CachedFile(self._shards, index=index, space=self._space)
            except NoRoomError as error:
                if not self._said_full:
                    self._said_full = True
                    log.warning(
                        "images are read from the store each time they are needed: %s", error
                    )
                return None

    def look_again(self) -> None:
        """A shard was let go: others that had no room may have it now."""
        self._space.look_again()

    @contextmanager
    def lock(self, entry: ShardEntry, *, patience_s: float) -> Iterator[bool]:
        """Hold a shard's lock inside the block, as `locks.held`.

        Raises:
            StorageError: the folder cannot be used.
        """
        with ExitStack() as stack:
            with self.explained():
                is_held = stack.enter_context(
                    held(self._locks / entry.sha256, patience_s=patience_s)
                )
            yield is_held

    def make_folders(self) -> None:
        """Make what is not there yet.

        Raises:
            StorageError: that is not possible.
        """
        with self.explained():
            for folder in (self._shards, self._locks):
                folder.mkdir(parents=True, exist_ok=True)

    def explained(self) -> AbstractContextManager[None]:
        """Turn errors of the file system inside the block into a StorageError in words."""
        return explained(self._directory)


def _download(store: Store, entry: ShardEntry, path: Path) -> None:
    try:
        atomic_write(path, checked_chunks(store, entry))
    except ShardError as error:
        # Bytes do change on the way: they are said to be wrong in the store after a second look.
        log.warning("%s; reading it again", error)
        atomic_write(path, checked_chunks(store, entry))


def checked_chunks(store: Store, entry: ShardEntry) -> Iterator[bytes]:
    """The bytes of a shard in chunks; whoever takes them all knows that they are right.

    Raises:
        ShardError: after the last chunk, if the bytes were not those the manifest says.
        StorageError: the store cannot be read.
    """
    digest = hashlib.sha256()
    small = entry.size_bytes <= CHUNK_SIZE_BYTES
    for chunk in [store.read(entry.key)] if small else store.chunks(entry.key):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != entry.sha256:
        raise damaged(store, entry)


def damaged(store: Store, entry: ShardEntry) -> ShardError:
    """The error for a shard whose bytes are not those its manifest says."""
    return ShardError(
        f"{store.locate(entry.key)} is damaged: its bytes do not match the checksum in the "
        "manifest; daam data verify tells how to repair it and whether there are more"
    )


def _has_bytes_of(entry: ShardEntry, path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except FileNotFoundError:
        return False
