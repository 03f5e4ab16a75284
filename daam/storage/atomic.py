"""Atomic writes to the local disk: a file appears under its name complete, or not at all."""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from daam.errors import StorageError
from daam.storage.private import make_folder
from daam.storage.scratch import is_abandoned, lock_new

TEMPORARY_SUFFIX = ".partial"
BY_UMASK = 0o666


class ExistsError(StorageError):
    """There is a file of that name already."""


def atomic_write(
    path: Path, chunks: Iterable[bytes], *, root: Path | None = None, mode: int = BY_UMASK
) -> None:
    """Write the chunks to a file, as `atomic_file` does.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
    """
    with atomic_file(path, root=root, mode=mode) as file:
        for chunk in chunks:
            file.write(chunk)


@contextmanager
def atomic_file(
    path: Path, *, root: Path | None = None, mode: int = BY_UMASK, replace: bool = True
) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name once the block ends without an error.

    The bytes go to a temporary file beside it, which is flushed to the disk and renamed. After an
    error nothing is left behind, and a file that was there before is unchanged. If the process is
    killed, the temporary file is removed by the next one that writes this file.

    Args:
        path: of the file.
        root: the folder that is private if it has to be created, by default the file's own; what
            is created in it gets its permissions from the umask.
        mode: permissions of the file, before the umask.
        replace: a file that is there.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
        ExistsError: there is a file, and it is not to be replaced.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        make_folder(root or path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        beginning = f".{path.name}."
        for name in os.listdir(path.parent):
            if name.startswith(beginning) and name.endswith(TEMPORARY_SUFFIX):
                _remove_if_abandoned(path.with_name(name))
        with _created(partial, mode=mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _publish(partial, path, replace=replace)  # while it is locked, and so not abandoned
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


def remove_unfinished(folder: Path) -> list[Path]:
    """Remove what writers that were killed have left in a folder and below it; return their paths.

    Writers that are at work keep theirs.
    """
    found = [
        Path(inside, name)
        for inside, _, names in os.walk(folder)
        for name in names
        if name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)
    ]
    return [path for path in sorted(found) if _remove_if_abandoned(path)]


def _remove_if_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # a link, just renamed, or of another user
        return False
    try:
        if not is_abandoned(descriptor):
            return False
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _created(partial: Path, *, mode: int) -> BinaryIO:
    while True:
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        if lock_new(descriptor, partial):
            return os.fdopen(descriptor, "wb")
        os.close(descriptor)


def _publish(partial: Path, path: Path, *, replace: bool) -> None:
    if replace:
        partial.replace(path)
        return
    try:
        os.link(partial, path)
    except FileExistsError as error:
        raise ExistsError(f"{path} exists already; choose another name") from error


def _sync_folder(folder: Path) -> None:
    # A rename survives a power cut only once the folder itself is on the disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
