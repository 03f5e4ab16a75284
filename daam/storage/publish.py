"""How a local file is published: whole, or not at all."""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from daam.errors import StorageError

TEMPORARY_SUFFIX = ".partial"


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that appears under its name only when all of it is on the disk.

    The bytes go to a temporary name beside it first; a failure, also one of `chunks`, leaves
    nothing behind and whatever was there before as it was.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
    """
    with whole_file(path) as file:
        for chunk in chunks:
            file.write(chunk)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that appears under its name when the block ends, as in `write_whole`."""
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
    # A rename is only safe from a power cut once the folder itself is on the disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
