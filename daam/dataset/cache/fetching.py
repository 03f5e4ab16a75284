"""Images that are needed now, from any shards, fetched in parallel and once per node."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from daam.dataset.cache.forks import renew_in_children
from daam.dataset.cache.locks import Turns
from daam.dataset.cache.shard import ByteRange, CachedShard
from daam.errors import StorageError

Result = TypeVar("Result")

REQUESTS_AT_ONCE = 32
AWAIT_S = 3  # the longest wait for what comes in bulk
# A lock is held for a few requests. Who holds it longer is stopped or cut off from the store.
PATIENCE_S = 30


class ClosedError(StorageError):
    """The table was closed, or the interpreter ends."""


class Fetcher:
    """The requests of one table to its store. Threads share it; a forked child makes its own.

    Attributes:
        turns: of the threads that keep what they fetch, as they need locks of the same shards.
    """

    def __init__(self) -> None:
        self._is_closed = False
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin without threads, in a process that has none."""
        self._pool = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="daam-fetch")
        self._nobody_waits = threading.Condition()
        self._num_waiting = 0
        self._news = threading.Condition()
        self._num_awaiting = 0
        self._expected_until = 0.0
        self.turns = Turns()

    def images(
        self, places: Sequence[tuple[CachedShard, int]], *, passing: Container[CachedShard] = ()
    ) -> list[memoryview]:
        """The JPEGs of rows of shards, from the cache if they are there by now.

        Args:
            places: (shard, row of it).
            passing: shards that are read past the cache, so that they take no room in it.

        Raises:
            ShardError: the store lacks a shard, or an image in it is damaged.
            StorageError: the store cannot be read, or the cache not be used.
        """
        rows_of: dict[CachedShard, set[int]] = defaultdict(set)
        for shard, row in places:
            rows_of[shard].add(row)
        deadline = time.monotonic() + PATIENCE_S
        for shard in rows_of:
            if shard not in passing:
                shard.open(patience_s=deadline - time.monotonic())
        self._await_rest({shard: rows for shard, rows in rows_of.items() if shard not in passing})
        self._count_waiting(1)
        try:
            images = _images_here(rows_of)
            missing = {
                shard: left
                for shard, rows in rows_of.items()
                if (left := {row for row in rows if (shard, row) not in images})
            }
            if any(shard not in passing for shard in missing):
                with self.turns.taken(patience_s=deadline - time.monotonic()):
                    images |= self._fetched(missing, passing=passing, deadline=deadline)
            elif missing:
                images |= self._fetched(missing, passing=passing, deadline=deadline)
        finally:
            self._count_waiting(-1)
        return [images[place] for place in places]

    def fetch_ranges(
        self, ranges: Iterable[tuple[CachedShard, ByteRange, bool]]
    ) -> list[dict[int, memoryview]]:
        """Fetch (shard, range, whether to keep it) in parallel; what came is kept if one fails.

        Raises:
            ClosedError: no more is fetched.
            ShardError, StorageError: as `images`.
        """
        return self._together(partial(shard.fetch, span, keep=keep) for shard, span, keep in ranges)

    def keep_ranges(self, shard: CachedShard, ranges: Iterable[ByteRange]) -> None:
        """Fetch ranges of a shard whose lock is held, in parallel, for the cache alone.

        Raises:
            ClosedError, ShardError, StorageError: as `fetch_ranges`.
        """

        def keep(span: ByteRange) -> None:
            shard.fetch(span, keep=True)  # whose images are not held until all ranges are here

        self._together(partial(keep, span) for span in ranges)

    def expect_rest(self, *, within_s: float | None) -> None:
        """Say how long it is worth waiting for what comes in bulk, before asking for single images.

        Args:
            within_s: from now on; 0: ask at once; None: as was said before, but more is here.
        """
        with self._news:
            if within_s is not None:
                self._expected_until = time.monotonic() + within_s
            self._news.notify_all()

    def rest_is_awaited(self) -> bool:
        """Whether a thread waits for what comes in bulk."""
        with self._news:
            return self._num_awaiting > 0 and time.monotonic() < self._expected_until

    def wait_until_idle(self, *, timeout_s: float) -> None:
        """Wait until no thread asks for single images, or so long."""
        with self._nobody_waits:
            self._nobody_waits.wait_for(lambda: self._num_waiting == 0, timeout_s)

    def wait_until_awaited(self, *, timeout_s: float) -> None:
        """Wait until a thread waits for what comes in bulk, or so long."""
        with self._news:
            self._news.wait_for(lambda: self._num_awaiting > 0, timeout_s)

    def close(self) -> None:
        """Let the threads end."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _together(self, requests: Iterable[Callable[[], Result]]) -> list[Result]:
        futures: list[Future[Result]] = []
        try:
            futures.extend(self._pool.submit(request) for request in requests)
        except RuntimeError as error:
            if self._is_closed or "shutdown" in str(error):
                raise ClosedError("images are asked for after their table was closed") from error
            raise StorageError(
                f"no thread to fetch images with ({error}): too many threads or too little memory; "
                "raise the limit (ulimit -u), or run fewer workers on this machine"
            ) from error
        finally:
            wait(futures)
        return [future.result() for future in futures]

    def _fetched(
        self,
        rows_of: dict[CachedShard, set[int]],
        *,
        passing: Container[CachedShard],
        deadline: float,
    ) -> dict[tuple[CachedShard, int], memoryview]:
        with ExitStack() as stack:
            # In one order in all processes, so that no two ever wait for each other.
            shards = sorted(rows_of, key=lambda shard: shard.index.entry.sha256)
            keep = {
                shard: shard not in passing
                and shard.open(patience_s=0)
                and stack.enter_context(shard.lock(patience_s=deadline - time.monotonic()))
                for shard in shards
            }
            # While the locks were waited for, others may have fetched the same.
            images = _images_here(rows_of)
            ranges = [
                (shard, span, keep[shard])
                for shard in shards
                for span in shard.ranges_of(
                    row for row in rows_of[shard] if (shard, row) not in images
                )
            ]
            for (shard, _, _), fetched in zip(ranges, self.fetch_ranges(ranges), strict=True):
                images |= {(shard, row): image for row, image in fetched.items()}
        return images

    def _await_rest(self, rows_of: dict[CachedShard, set[int]]) -> None:
        with self._news:
            self._num_awaiting += 1
            self._news.notify_all()
            try:
                deadline = time.monotonic() + AWAIT_S
                while (left_s := min(self._expected_until, deadline) - time.monotonic()) > 0:
                    if _are_here(rows_of):
                        return
                    self._news.wait(left_s)
            finally:
                self._num_awaiting -= 1

    def _count_waiting(self, change: int) -> None:
        with self._nobody_waits:
            self._num_waiting += change
            self._nobody_waits.notify_all()


def _are_here(rows_of: dict[CachedShard, set[int]]) -> bool:
    return all(shard.image(row) is not None for shard, rows in rows_of.items() for row in rows)


def _images_here(
    rows_of: dict[CachedShard, set[int]],
) -> dict[tuple[CachedShard, int], memoryview]:
    return {
        (shard, row): image
        for shard, rows in rows_of.items()
        for row in rows
        if (image := shard.image(row)) is not None
    }
