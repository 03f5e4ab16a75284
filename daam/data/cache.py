"""Shards on local disk: downloaded once per node, checked, and ready to be memory-mapped.

{directory}/shards/{sha256}.arrow        a shard, complete and checked
{directory}/locks/{sha256}               held by the process that downloads it
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from daam.data.manifest import ShardEntry
from daam.errors import ShardError, StorageError
from daam.storage import MissingKeyError, Store
from daam.storage.publish import write_whole

SHARDS_AT_ONCE = 4


class ShardCache:
    """Local files of shards, for all processes of a node that name the same directory.

    A remote shard is downloaded by whichever process asks first while the others wait, under a
    temporary name until its checksum has been found right: what is in the cache is whole, also
    after a crash. A file in a local folder is used where it is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.expanduser().absolute()

    def fetch(self, store: Store, entry: ShardEntry) -> Path:
        """A local file with exactly the bytes of the shard; never write to it.

        Raises:
            ShardError: the shard is missing in the store, or its bytes are not what the manifest
                says.
            StorageError: the store cannot be read, or the disk is full.
        """
        try:
            original = store.local_path(entry.key)
            if original is not None:
                for _ in checked_chunks(store, entry):
                    pass
                return original
            return self._download_once(store, entry)
        except MissingKeyError as error:
            raise ShardError(
                f"shard {entry.key} is missing in {store.uri}; import the domain again"
            ) from error

    def fetch_all(self, store: Store, entries: Sequence[ShardEntry]) -> list[Path]:
        """As `fetch`, for many shards, several at once."""
        with ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="daam-shards") as pool:
            return list(pool.map(lambda entry: self.fetch(store, entry), entries))

    def _download_once(self, store: Store, entry: ShardEntry) -> Path:
        path = self._directory / "shards" / f"{entry.sha256}.arrow"
        if path.exists():
            return path
        locks = self._directory / "locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            with FileLock(locks / entry.sha256):
                if not path.exists():
                    write_whole(path, checked_chunks(store, entry))
        except OSError as error:
            raise StorageError(
                f"cannot use the cache folder {self._directory}: {error}; choose another"
            ) from error
        return path


def checked_chunks(store: Store, entry: ShardEntry) -> Iterator[bytes]:
    """The bytes of a shard in chunks; whoever takes them all knows that they are right.

    Raises:
        ShardError: after the last chunk, if the bytes were not those the manifest says.
        StorageError: the store cannot be read.
    """
    digest = hashlib.sha256()
    for chunk in store.chunks(entry.key):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != entry.sha256:
        raise damaged(store, entry)


def damaged(store: Store, entry: ShardEntry) -> ShardError:
    """The error for a shard whose bytes are not those its manifest says."""
    return ShardError(
        f"shard {entry.key} in {store.uri} is damaged: its bytes do not match the checksum in the "
        f"manifest; delete it and import the domain again (python launch.py data verify tells "
        "whether there are more)"
    )
