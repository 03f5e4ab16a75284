"""Folders and files that only the user who runs this process may enter, read or change.

Other users of a machine may write to `/tmp`, to a shared disk, sometimes to a folder of results.
What is read from there must be this user's own, and nothing is written through a link, which may
lead to any file that this user may write.
"""

import errno
import os
import shlex
import stat
from pathlib import Path

from daam.errors import StorageError

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, for their owner alone.

    One that exists keeps its permissions: to share results, create their folder first.

    Raises:
        OSError: it cannot be created.
    """
    for folder in [*reversed(path.parents), path]:
        if not folder.is_dir():
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def own_folder(path: Path, *, instead: str) -> Path:
    """Create a private folder; return it if nobody else can change what is in it.

    Args:
        path: of the folder.
        instead: how to name another one, for the message.

    Raises:
        OSError: it cannot be created.
        StorageError: it is a link, belongs to another user, or others may write to it.
    """
    make_folder(path)
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise StorageError(
            f"{path} is a link, which others may have placed there; name the folder itself, "
            f"{os.path.realpath(path)}, or remove the link: rm {shlex.quote(str(path))}"
        )
    if status.st_uid != os.getuid():
        raise StorageError(f"{path} is not a folder of yours; {instead}")
    if status.st_mode & WRITABLE_BY_OTHERS:
        raise StorageError(
            f"other users may write to {path}, and so change what is read from it; forbid that: "
            f"chmod go-w {shlex.quote(str(path))}"
        )
    return path


def open_own(path: Path, flags: int) -> int:
    """Open a file of this user's, created private if it is missing; never through a link.

    Returns:
        Its descriptor.

    Raises:
        PermissionError: it is a link, no file, belongs to another user, or others may write to it.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW, PRIVATE_FILE)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise PermissionError(errno.EPERM, "is a link, not followed", str(path)) from error
        raise
    status = os.fstat(descriptor)
    is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
    if not is_own or status.st_mode & WRITABLE_BY_OTHERS:
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "is not a file that only you may write", str(path))
    return descriptor
