"""Folders for what is needed until a block ends, and the removal of what a killed process left.

A process holds a kernel lock on each of its scratch folders and unfinished files. What nobody has
locked was left by a process that was killed.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "daam-scratch-"


@contextmanager
def scratch_folder(*, inside: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """Create a private folder that is removed when the block ends.

    Those of the same prefix that killed processes of this user left are removed first.

    Args:
        inside: folder to create it in; by default that for temporary files (TMPDIR).
        prefix: of its name.

    Raises:
        OSError: it cannot be created.
    """
    inside = Path(tempfile.gettempdir()) if inside is None else inside
    _remove_abandoned_folders(inside, prefix=prefix)
    folder, descriptor = _locked_folder(inside, prefix=prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def lock_new(descriptor: int, path: Path) -> bool:
    """Lock what this process has just created; return whether it is still there.

    Another process may have taken it for abandoned in the moment between the two. File systems
    without locks lose nothing but the removal of what is abandoned.
    """
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_abandoned(descriptor: int) -> bool:
    """Whether the process that created an open file or folder has ended; if so it is locked now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _locked_folder(inside: Path, *, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=inside))
        with suppress(FileNotFoundError):
            descriptor = _open_folder(folder)
            if lock_new(descriptor, folder):
                return folder, descriptor
            os.close(descriptor)


def _remove_abandoned_folders(inside: Path, *, prefix: str) -> None:
    for name in os.listdir(inside):
        if not name.startswith(prefix):
            continue
        with suppress(OSError):  # a link, another user's, or just removed by another process
            descriptor = _open_folder(inside / name)
            try:
                is_own = os.fstat(descriptor).st_uid == os.getuid()
                if is_own and is_abandoned(descriptor):
                    shutil.rmtree(inside / name, ignore_errors=True)
            finally:
                os.close(descriptor)


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
