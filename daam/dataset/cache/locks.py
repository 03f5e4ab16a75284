"""Locks that threads and processes of a node share, and that die with whoever holds them."""

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST_WAIT_S = 0.0005
LONGEST_WAIT_S = 0.01


@contextmanager
def held(path: Path, *, patience_s: float) -> Iterator[bool]:
    """Hold a lock inside the block, if it can be had in time.

    Args:
        path: its file, which is made and never removed; two locks of one thread exclude each other.
        patience_s: give up after this long; 0 only tries.

    Yields:
        Whether it is held.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        got = lock_in_time(descriptor, fcntl.LOCK_EX, patience_s=patience_s)
        try:
            yield got
        finally:
            if got:
                # Closing alone would leave it held by a child that was forked meanwhile.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def lock_in_time(descriptor: int, kind: int, *, patience_s: float) -> bool:
    """Lock an open file, fcntl.LOCK_EX or LOCK_SH; return whether it could be had in time."""
    deadline = time.monotonic() + patience_s
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


class Turns:
    """Threads of a process one after the other, in the order in which they came.

    A lock has no order: who gives it back and wants it again at once would get it each time.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def taken(self, *, patience_s: float) -> Iterator[bool]:
        """Have a turn inside the block, if it comes in time; yields whether it has come."""
        me = object()
        with self._changed:
            self._queue.append(me)
            has_come = self._changed.wait_for(lambda: self._queue[0] is me, patience_s)
        try:
            yield has_come
        finally:
            with self._changed:
                self._queue.remove(me)
                self._changed.notify_all()
