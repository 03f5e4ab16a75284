"""Atomic writes to the local disk: a file appears under its name complete, or not at all."""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from daam.errors import StorageError

TEMPORARY_SUFFIX = ".partial"


def atomic_write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write the chunks to a file, as `atomic_file` does.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
    """
    with atomic_file(path) as file:
        for chunk in chunks:
            file.write(chunk)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name once the block ends without an error.

    The bytes go to a temporary file beside it, which is flushed to the disk and renamed. After an
    error nothing is left behind, and a file that was there before is unchanged.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"no space left to write {path}; free some or choose another disk"
            ) from error
        raise StorageError(
            f"cannot write {path}: {error.strerror}; check that its folder exists and is writable"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # A rename survives a power cut only once the folder itself is on the disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
