"""Background fetching of whole shards, so that later batches, epochs and runs need no store."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from daam.dataset.cache.cached_shard import CachedShard
from daam.errors import ShardError, StorageError

NUM_THREADS = 16
BUSY_PAUSE_S, NO_ROOM_PAUSE_S, RETRY_S = 0.1, 1, 10

log = logging.getLogger(__name__)


class Prefetcher:
    """Threads that fetch shards part by part, in the order in which they were added.

    Parts that another thread or process holds are tried again later, so the processes of a node
    share the work. An error is logged, and tried again if it may pass: readers fetch what they need
    themselves. The threads end with their work, with `close`, or with the main thread; the cache
    is valid at any moment.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[tuple[CachedShard, int]] = deque()
        self._shards: set[CachedShard] = set()
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()
        self._resume_at = 0.0

    def add(self, shards: Iterable[CachedShard]) -> None:
        """Add shards to fetch; return at once."""
        with self._lock:
            new = [shard for shard in shards if shard not in self._shards]
            self._shards.update(new)
            self._queue.extend((shard, part) for shard in new for part in range(shard.num_parts))
            num_wanted = 0 if self._closed.is_set() else min(NUM_THREADS, len(self._queue))
            with suppress(RuntimeError):  # a limit on threads; readers report it when they meet it
                while len(self._threads) < num_wanted:
                    thread = threading.Thread(target=self._run, name="daam-prefetch", daemon=False)
                    thread.start()
                    self._threads.add(thread)

    def has(self, shard: CachedShard) -> bool:
        """Whether a shard was added and not removed."""
        return shard in self._shards

    def remove(self, shards: Iterable[CachedShard]) -> None:
        """Stop fetching these shards and release them."""
        with self._lock:
            removed = set(shards)
            self._shards -= removed
            self._queue = deque(work for work in self._queue if work[0] not in removed)
        for shard in removed:
            shard.release()

    def stop(self) -> None:
        """End the threads once their requests in flight have."""
        self._closed.set()

    def close(self) -> None:
        """End the threads and wait for them."""
        self.stop()
        for thread in list(self._threads):
            thread.join()

    def _run(self) -> None:
        try:
            while (work := self._next()) is not None:
                if not self._complete(*work):
                    self._put_back(work)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _next(self) -> tuple[CachedShard, int] | None:
        while not self._closed.is_set() and threading.main_thread().is_alive():
            with self._lock:
                if not self._queue:
                    self._threads.discard(threading.current_thread())  # `add` starts another
                    return None
                if time.monotonic() >= self._resume_at:
                    return self._queue.popleft()
            self._closed.wait(BUSY_PAUSE_S)
        return None

    def _complete(self, shard: CachedShard, part: int) -> bool:
        """Fetch what is missing of a part; return whether that is done."""
        try:
            if not shard.open(create=True, timeout_s=1):
                self._pause(NO_ROOM_PAUSE_S)
                return False
            with shard.lock(part) as is_locked:
                if is_locked:
                    for span in shard.spans_of(shard.missing(part)):
                        shard.fetch(span, keep=True)
            return is_locked
        except ShardError as error:
            log.warning("%s", str(error))
            return True
        except StorageError as error:
            if self._pause(RETRY_S):
                log.warning("prefetching is resumed in %d s: %s", RETRY_S, str(error))
            return False
        finally:
            with self._lock:
                is_removed = shard not in self._shards
            if is_removed:
                shard.release()

    def _pause(self, seconds: float) -> bool:
        """Pause all threads; return False if they were paused already."""
        with self._lock:
            now = time.monotonic()
            if now < self._resume_at:
                return False
            self._resume_at = now + seconds
            return True

    def _put_back(self, work: tuple[CachedShard, int]) -> None:
        with self._lock:
            if work[0] in self._shards:
                self._queue.append(work)
        self._closed.wait(BUSY_PAUSE_S)
