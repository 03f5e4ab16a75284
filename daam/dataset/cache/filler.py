"""Shards completed in the background, so that later epochs and runs need no store."""

import logging
import threading
import time
from collections.abc import Iterable

from daam.dataset.cache.fetching import AWAIT_S, ClosedError, Fetcher
from daam.dataset.cache.forks import renew_in_children
from daam.dataset.cache.shard import ByteRange, CachedShard
from daam.errors import ShardError, StorageError

TURN_S = 0.4
MOST_RANGES, FEWEST_BYTES, MOST_BYTES = 64, 512 << 10, 64 << 20  # at once
CHUNK_S, MOST_GROWTH = 0.3, 8  # what comes in so long is asked for at once, approached by factors
SOON_S = 2  # what should take so long is worth waiting for, well below AWAIT_S
PROBE_S = 0.3  # so long whoever needs images waits to see how quickly they come in bulk
MOST_COUNTED = 256  # shards; to count what is missing of one takes 50 us
GIVE_WAY_S, FIRST_PAUSE_S = 1, 0.1  # until the first batch is made of the images it needs
TURN_PATIENCE_S = 1
LOCK_PATIENCE_S, PAUSE_S = 0.05, 0.02
NO_ROOM_PAUSE_S = 1
RETRY_S = 10

log = logging.getLogger(__name__)


class Filler:
    """One thread that fetches what is missing of the shards it was given, in turns.

    A turn is a moment with one shard under its lock, taken in order with the threads that need
    images now. What it asks for at once is little at first, then more as long as that comes
    quickly: reading in bulk costs a fraction of what as many images cost alone. Shards that another
    process works on are passed over, so the fillers of a node share the work. An error is logged
    and tried again later: whoever needs an image gets its own. The thread ends with its work, with
    `close`, or with the main thread; files are as good then as at any other moment.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._is_in_child = False
        self._guard = threading.Lock()
        self._queue: dict[CachedShard, None] = {}
        self._thread: threading.Thread | None = None
        self._is_awaited = False
        self._closed = threading.Event()
        self._num_bytes = FEWEST_BYTES
        self._bytes_per_s = 0.0
        renew_in_children(self)

    def renew(self) -> None:
        """Leave the work to the parent, in a forked child."""
        self._is_in_child = True
        self._guard = threading.Lock()
        self._queue = {}
        self._thread = None
        self._closed = threading.Event()

    def add(self, shards: Iterable[CachedShard], *, is_awaited: bool = False) -> None:
        """Complete these shards too.

        Args:
            is_awaited: whoever needs more of them waits for a moment to see how quickly they come.
        """
        if self._is_in_child:
            return
        if is_awaited:
            self._fetcher.expect_rest(within_s=PROBE_S)
        with self._guard:
            self._is_awaited = is_awaited
            self._queue |= dict.fromkeys(shards)
            if self._queue and self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="daam-fill", daemon=False)
                self._thread.start()

    def remove(self, shards: Iterable[CachedShard]) -> None:
        """Complete these shards no longer."""
        with self._guard:
            for shard in shards:
                self._queue.pop(shard, None)

    def stop(self) -> None:
        """End after this turn."""
        self._closed.set()

    def close(self) -> None:
        """End after this turn, and wait for that."""
        self.stop()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._fetcher.expect_rest(within_s=0)
            with self._guard:
                if self._thread is threading.current_thread():  # no other was started since
                    self._thread = None

    def _work(self) -> None:
        self._fetcher.wait_until_idle(timeout_s=GIVE_WAY_S)
        if self._is_awaited:
            self._fetcher.expect_rest(within_s=FIRST_PAUSE_S + PROBE_S)
            self._fetcher.wait_until_awaited(timeout_s=FIRST_PAUSE_S)
        else:
            self._pause(FIRST_PAUSE_S)
        while (shard := self._next()) is not None:
            try:
                is_done = self._take_turn(shard)
            except ClosedError:
                self.stop()
                is_done = False
            except ShardError as error:
                log.warning("%s", error)
                self._fetcher.expect_rest(within_s=0)
                is_done = True
            except StorageError as error:
                log.warning("filling the cache goes on in %d s: %s", RETRY_S, error)
                is_done = False
                self._fetcher.expect_rest(within_s=0)
                self._pause(RETRY_S)
            if is_done:
                self.remove([shard])
            else:
                # Whoever waits for the lock of this shard gets it now.
                self._pause(PAUSE_S if len(self._queue) == 1 else 0)

    def _next(self) -> CachedShard | None:
        with self._guard:
            if not self._queue or not self._goes_on():
                self._thread = None
                return None
            shard = next(iter(self._queue))
            self._queue[shard] = self._queue.pop(shard)  # to the end
            return shard

    def _take_turn(self, shard: CachedShard) -> bool:
        """Fetch some of a shard; return whether there is nothing left to do."""
        if shard.open(patience_s=0):
            with self._guard:
                if shard not in self._queue:  # it was let go before it was opened
                    shard.release()
                    return False
            with (
                self._fetcher.turns.taken(patience_s=TURN_PATIENCE_S) as has_come,
                shard.lock(patience_s=LOCK_PATIENCE_S if has_come else 0) as is_held,
            ):
                is_complete = is_held and self._fetch_some(shard)
            if is_complete and self._fetcher.rest_is_awaited() and self._is_missing_any():
                return False  # finished later: its bytes can be used, and others are waited for
            if is_complete:
                # The checksum needs the shard, but no turn: images of other shards come meanwhile.
                with shard.lock(patience_s=LOCK_PATIENCE_S) as is_held:
                    return is_held and not shard.num_missing_bytes() and shard.finish()
            if is_held:
                return False
        self._fetcher.expect_rest(within_s=0)
        self._pause(PAUSE_S if shard.has_room else NO_ROOM_PAUSE_S)
        return False

    def _fetch_some(self, shard: CachedShard) -> bool:
        """Use a turn; return whether nothing of the shard is missing any more."""
        began = time.monotonic()
        while True:
            num_bytes = self._num_bytes
            ranges = _first_of(shard.missing_ranges(size_bytes=num_bytes), num_bytes=num_bytes)
            if not ranges:
                return True
            asked = time.monotonic()
            self._fetcher.keep_ranges(shard, ranges)
            took_s = time.monotonic() - asked
            num_fetched = sum(span.end - span.start for span in ranges)
            # The end of a shard tells little about how quickly bytes come.
            is_typical = num_fetched >= num_bytes / 2 or took_s > CHUNK_S
            if is_typical:
                self._bytes_per_s = num_fetched / max(took_s, 1e-3)
                wanted = int(CHUNK_S * self._bytes_per_s)
                wanted = min(max(wanted, num_bytes // 2), MOST_GROWTH * num_bytes)
                self._num_bytes = min(max(wanted, FEWEST_BYTES), MOST_BYTES)
            if self._is_less(SOON_S * self._bytes_per_s):
                self._fetcher.expect_rest(within_s=AWAIT_S)
            elif is_typical:
                # As long as it grows, it says how far the store is, not how quickly it sends.
                grows = self._num_bytes == MOST_GROWTH * num_bytes
                self._fetcher.expect_rest(within_s=PROBE_S if grows else 0)
            else:
                self._fetcher.expect_rest(within_s=None)
            if asked + 2 * took_s - began > TURN_S or not self._goes_on():
                return False

    def _is_less(self, num_bytes: float) -> bool:
        """Whether less than that is missing of all shards."""
        with self._guard:
            if len(self._queue) > MOST_COUNTED:
                return False
            shards = list(self._queue)
        for shard in shards:
            num_bytes -= shard.num_missing_bytes()
            if num_bytes <= 0:
                return False
        return True

    def _is_missing_any(self) -> bool:
        """Whether bytes of some shard are missing."""
        with self._guard:
            shards = list(self._queue)
        return any(shard.num_missing_bytes() for shard in shards)

    def _pause(self, seconds: float) -> None:
        while seconds > 0 and self._goes_on():
            self._closed.wait(min(seconds, 0.1))
            seconds -= 0.1

    def _goes_on(self) -> bool:
        return not self._closed.is_set() and threading.main_thread().is_alive()


def _first_of(ranges: Iterable[ByteRange], *, num_bytes: int) -> list[ByteRange]:
    """As many ranges as have so many bytes together, but not very many."""
    first: list[ByteRange] = []
    for span in ranges:
        first.append(span)
        num_bytes -= span.end - span.start
        if num_bytes <= 0 or len(first) == MOST_RANGES:
            break
    return first
