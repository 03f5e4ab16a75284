"""Python's cycle collector, out of the way where a lot is allocated that stays."""

import functools
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Pauses:
    """How many blocks of this process want the collector to stand still."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_blocks = 0
        self._was_enabled = True

    def begin(self) -> None:
        with self._lock:
            if not self._num_blocks:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._num_blocks += 1

    def end(self) -> None:
        with self._lock:
            self._num_blocks = max(self._num_blocks - 1, 0)  # after a fork there were none
            if not self._num_blocks and self._was_enabled:
                gc.enable()

    def end_in_child(self) -> None:
        """The blocks of a parent's other threads end in none of its children."""
        self._lock = threading.Lock()
        if self._num_blocks and self._was_enabled:
            gc.enable()
        self._num_blocks = 0


_pauses = _Pauses()


@contextmanager
def paused_collector() -> Iterator[None]:
    """Collect nothing inside the block, nor as long as another thread is in such a block.

    Each collection walks all that is alive, with the interpreter's lock held: 50 ms where torch was
    imported, and the full one that its import makes due 160. Importing boto3 and making a client
    of it sets off five of them and leaves hardly a cycle behind: two thirds of their time.
    """
    _end_in_children()
    _pauses.begin()
    try:
        yield
    finally:
        _pauses.end()


@functools.cache
def _end_in_children() -> None:
    os.register_at_fork(after_in_child=_pauses.end_in_child)
