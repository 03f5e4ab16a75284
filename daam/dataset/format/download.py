"""A file of a domain on this machine for a while, after every byte of it was found right."""

import hashlib
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daam.dataset.format.manifest import ShardEntry
from daam.errors import ShardError, StorageError
from daam.storage import MissingKeyError, Store

Progress = Callable[[int, int], None]


class BadFileError(ShardError):
    """A file of a domain is not what its manifest says; `problem` says how, in a few words."""

    def __init__(self, entry: ShardEntry, *, store: Store, problem: str) -> None:
        self.problem = problem
        domain = entry.key.partition("/")[0]
        super().__init__(
            f"{entry.key} in {store.uri} {problem}; how to repair it: daam data verify "
            f"--domain {domain} --at {shlex.quote(store.uri)}"
        )


class BytesSeen:
    """Adds up what several threads have read, and tells it.

    Args:
        total: bytes there are in all.
        report: called with (bytes read, total).
    """

    def __init__(self, total: int, *, report: Progress | None) -> None:
        self._total = total
        self._report = report
        self._seen = 0
        self._lock = threading.Lock()

    def add(self, num_bytes: int) -> None:
        """Count more bytes."""
        if self._report is not None:
            with self._lock:
                self._seen += num_bytes
                self._report(self._seen, self._total)


@contextmanager
def verified_file(
    store: Store, entry: ShardEntry, *, scratch: Path, seen: BytesSeen
) -> Iterator[Path]:
    """Give a local file with exactly the bytes of a domain's file; never write to it.

    It is the store's own file if that is on this machine, else a copy that is removed at the end.

    Raises:
        BadFileError: it is missing, or its bytes are not those that its manifest says.
        StorageError: the store cannot be read, or the disk is full.
    """
    original = store.local_path(entry.key)
    # Two files of a domain may have the same bytes, and never the same name.
    copy = scratch / Path(entry.key).name
    try:
        with _found(entry, store=store):
            size_bytes = store.size(entry.key)
            if size_bytes != entry.size_bytes:
                problem = f"is damaged: it has {size_bytes:,} bytes, not {entry.size_bytes:,}"
                raise BadFileError(entry, store=store, problem=problem)
            if original is not None:
                _check(store.chunks(entry.key), entry, store=store, seen=seen)
            else:
                with _explained(scratch), copy.open("wb") as file:
                    chunks = _written(store.chunks(entry.key), file.write)
                    _check(chunks, entry, store=store, seen=seen)
        # Outside the block above: an error of whoever uses the file is not one of this store.
        yield copy if original is None else original
    finally:
        copy.unlink(missing_ok=True)


def sha256_of(chunks: Iterable[bytes]) -> str:
    """The SHA-256 of all chunks together, in hexadecimal digits."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _found(entry: ShardEntry, *, store: Store) -> Iterator[None]:
    try:
        yield
    except MissingKeyError as error:
        raise BadFileError(entry, store=store, problem="is missing") from error


def _check(chunks: Iterator[bytes], entry: ShardEntry, *, store: Store, seen: BytesSeen) -> None:
    if sha256_of(_counted(chunks, seen)) != entry.sha256:
        problem = "is damaged: its bytes do not match the checksum in the manifest"
        raise BadFileError(entry, store=store, problem=problem)


def _counted(chunks: Iterable[bytes], seen: BytesSeen) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        seen.add(len(chunk))


def _written(chunks: Iterator[bytes], write: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        write(chunk)
        yield chunk


@contextmanager
def _explained(scratch: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write to {scratch}: {error.strerror}; free some space or set TMPDIR to a "
            "folder that has it"
        ) from error
