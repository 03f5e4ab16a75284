"""Images of remote shards: those needed now at once, the rest in the background."""

import os
import time
import weakref
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack

from daam.dataset.cache.cached_shard import CachedShard, Span
from daam.dataset.cache.prefetcher import Prefetcher
from daam.errors import StorageError

Place = tuple[CachedShard, int]  # a shard and a row of it

REQUESTS_AT_ONCE = 32
POLL_S = 0.005
# A lock is held for a few requests. A process that holds it longer was stopped or lost its store.
LOCK_TIMEOUT_S = 30


class ClosedError(StorageError):
    """The table was closed, or the interpreter is shutting down."""


class Fetcher:
    """Fetches the images of one table. Threads share it; forked processes must not use it.

    Args:
        shards: of the table.
        keeps_all: keep all images that are fetched; otherwise only those of prefetched shards.

    Attributes:
        keeps_all: as given.
    """

    def __init__(self, shards: Sequence[CachedShard], *, keeps_all: bool) -> None:
        self._shards = shards
        self.keeps_all = keeps_all
        self._process = os.getpid()
        self._pool = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="daam-fetch")
        self._prefetcher = Prefetcher()
        self._is_closed = False
        weakref.finalize(self, self._prefetcher.stop).atexit = False

    def images(self, places: Sequence[tuple[int, int]]) -> list[memoryview]:
        """The JPEGs of rows: from the cache, else fetched now.

        An image that another thread or process is fetching is waited for.

        Args:
            places: (number of the shard, row of it).

        Raises:
            ShardError: the store lacks a shard, or an image in it is damaged.
            StorageError: the store cannot be read, the cache cannot be used, or the table was
                opened before this process was forked.
        """
        self._check_process()
        wanted = [(self._shards[number], row) for number, row in places]
        shards = {shard for shard, _ in wanted}
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        try:
            for shard in shards:
                timeout_s = max(0.0, deadline - time.monotonic())
                shard.open(create=self._keeps(shard), timeout_s=timeout_s)
            images: dict[Place, memoryview] = {}
            while missing := set(wanted) - images.keys():
                fetched = self._fetch(missing, ignore_locks=time.monotonic() > deadline)
                images |= fetched
                if len(fetched) < len(missing):
                    time.sleep(POLL_S)
        finally:
            for shard in shards:
                if not self._keeps(shard):
                    shard.release()
        return [images[place] for place in wanted]

    def prefetch(self, numbers: Iterable[int]) -> None:
        """Fetch the rest of these shards in the background; return at once."""
        self._check_process()
        self._prefetcher.add(self._shards[number] for number in numbers)

    def release(self, numbers: Iterable[int]) -> None:
        """Allow shards to be evicted, unless all are kept; images in use stay valid."""
        self._check_process()
        if not self.keeps_all:
            self._prefetcher.remove(self._shards[number] for number in numbers)

    def close(self) -> None:
        """Stop fetching and release all shards."""
        if os.getpid() == self._process:
            self._is_closed = True
            self._prefetcher.close()
            self._pool.shutdown(wait=False, cancel_futures=True)
            for shard in self._shards:
                shard.release()

    def _keeps(self, shard: CachedShard) -> bool:
        return self.keeps_all or self._prefetcher.has(shard)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise StorageError(
                f"images that process {self._process} opened are read in process {os.getpid()}, a "
                "fork of it; start processes by spawn, or open the images in each of them"
            )

    def _fetch(self, missing: set[Place], *, ignore_locks: bool) -> dict[Place, memoryview]:
        """Return images that are cached by now, and fetch those whose lock is free."""
        rows_of: dict[tuple[CachedShard, int], list[int]] = defaultdict(list)
        for shard, row in missing:
            rows_of[shard, shard.part_of(row)].append(row)
        images: dict[Place, memoryview] = {}
        requests: list[tuple[CachedShard, Span, bool]] = []
        with ExitStack() as stack:
            for (shard, part), rows in rows_of.items():
                is_locked = stack.enter_context(shard.lock(part))
                cached = {row: image for row in rows if (image := shard.image(row)) is not None}
                images |= {(shard, row): image for row, image in cached.items()}
                if is_locked or ignore_locks:
                    spans = shard.spans_of(row for row in rows if row not in cached)
                    requests += [(shard, span, is_locked) for span in spans]
            for (shard, _, _), fetched in zip(requests, self._parallel(requests), strict=True):
                images |= {(shard, row): image for row, image in fetched.items()}
        return images

    def _parallel(
        self, requests: Iterable[tuple[CachedShard, Span, bool]]
    ) -> list[dict[int, memoryview]]:
        """The images of each request; those that arrived are kept if another request fails."""
        futures: list[Future[dict[int, memoryview]]] = []
        try:
            for shard, span, keep in requests:
                futures.append(self._pool.submit(shard.fetch, span, keep=keep))
        except RuntimeError as error:
            if self._is_closed or "shutdown" in str(error):
                raise ClosedError("images are read after their table was closed") from error
            raise StorageError(
                f"no thread to fetch images with ({error}): too many threads or too little memory; "
                "raise the limit (ulimit -u), or run fewer workers on this machine"
            ) from error
        finally:
            wait(futures)
        return [future.result() for future in futures]
