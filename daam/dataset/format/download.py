"""Files of a domain read from a store, every byte compared with the manifest's checksum."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daam.dataset.format.manifest import ShardEntry
from daam.errors import ShardError, StorageError
from daam.storage import MissingKeyError, Store
from daam.storage.store import CHUNK_SIZE_BYTES

Progress = Callable[[int, int], None]


class BadFileError(ShardError):
    """A file of a domain differs from its manifest; `problem` says how, in a few words."""

    def __init__(self, message: str, *, problem: str) -> None:
        self.problem = problem
        super().__init__(message)


class ByteProgress:
    """Counts the bytes that several threads have read, and reports them.

    Args:
        total: bytes in all.
        report: called with (bytes read, total).
    """

    def __init__(self, total: int, *, report: Progress | None) -> None:
        self._total = total
        self._report = report
        self._done = 0
        self._lock = threading.Lock()

    def add(self, num_bytes: int) -> None:
        """Count more bytes."""
        if self._report is not None:
            with self._lock:
                self._done += num_bytes
                self._report(self._done, self._total)


@contextmanager
def verified_file(
    store: Store, entry: ShardEntry, *, scratch: Path, progress: ByteProgress
) -> Iterator[Path]:
    """Yield a local file with exactly the bytes of a domain's file; never write to it.

    It is the store's own file if that is local, else a copy that is removed at the end.

    Args:
        scratch: a folder for the copy.
        progress: counts the bytes that are read.

    Raises:
        BadFileError: it is missing, or its bytes do not match the manifest.
        StorageError: the store cannot be read, or the disk is full.
    """
    original = store.local_path(entry.key)
    # Two files of a domain may have the same bytes, but never the same name.
    copy = scratch / Path(entry.key).name
    try:
        _read(store, entry, into=os.devnull if original else copy, progress=progress)
        yield original or copy
    finally:
        copy.unlink(missing_ok=True)


def checked_chunks(store: Store, entry: ShardEntry) -> Iterator[bytes]:
    """The bytes of a file in chunks; they are valid if no error follows the last one.

    Raises:
        BadFileError: the store does not have the file, or, after the last chunk, its bytes do not
            match the manifest.
        StorageError: the store cannot be read.
    """
    digest = hashlib.sha256()
    is_small = entry.size_bytes <= CHUNK_SIZE_BYTES
    try:
        for chunk in [store.read(entry.key)] if is_small else store.chunks(entry.key):
            digest.update(chunk)
            yield chunk
    except MissingKeyError as error:
        raise missing_file(store, entry.key) from error
    if digest.hexdigest() != entry.sha256:
        problem = "is damaged: its bytes do not match the checksum in the manifest"
        raise BadFileError(
            f"{store.locate(entry.key)} {problem}; run daam data verify to find all damage "
            "and how to repair it",
            problem=problem,
        )


def missing_file(store: Store, key: str) -> BadFileError:
    """The error for a file that the manifest names and the store does not have."""
    return BadFileError(
        f"{store.locate(key)} is missing: either the domain was replaced since this began (start "
        "again), or run daam data verify to see how to repair it",
        problem="is missing",
    )


def _read(store: Store, entry: ShardEntry, *, into: Path | str, progress: ByteProgress) -> None:
    try:
        size_bytes = store.size(entry.key)
    except MissingKeyError as error:
        raise missing_file(store, entry.key) from error
    if size_bytes != entry.size_bytes:
        problem = f"is damaged: it has {size_bytes:,} bytes, not {entry.size_bytes:,}"
        raise BadFileError(
            f"{store.locate(entry.key)} {problem}; run daam data verify to see how to repair it",
            problem=problem,
        )
    try:
        with open(into, "wb") as file:
            for chunk in checked_chunks(store, entry):
                file.write(chunk)
                progress.add(len(chunk))
    except OSError as error:
        raise StorageError(
            f"cannot write to {into}: {error.strerror}; free some space or set TMPDIR to a folder "
            "that has it"
        ) from error
