"""File locks between threads and processes of a node; the kernel releases a dead process's."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daam.storage.private import open_own

FIRST_WAIT_S = 0.0005
LONGEST_WAIT_S = 0.01


@contextmanager
def file_lock(path: Path, *, timeout_s: float) -> Iterator[bool]:
    """Try to acquire a lock, which is released when the block ends.

    Args:
        path: of the lock file, created if missing. Not reentrant.
        timeout_s: give up after this long; 0 tries once.

    Yields:
        Whether it was acquired.

    Raises:
        OSError: the file cannot be created, or is not this user's own.
    """
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        is_held = flock_within(descriptor, fcntl.LOCK_EX, timeout_s=timeout_s)
        try:
            yield is_held
        finally:
            if is_held:
                # A child forked since would keep the lock if the file were only closed.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def flock_within(descriptor: int, kind: int, *, timeout_s: float) -> bool:
    """Lock an open file with fcntl.LOCK_EX or LOCK_SH; return whether it was acquired in time."""
    deadline = time.monotonic() + timeout_s
    wait_s = FIRST_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        else:
            return True
