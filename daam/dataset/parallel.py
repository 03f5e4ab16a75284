"""Work done in threads ahead of its consumer, with results in order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from daam.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")
Draft = TypeVar("Draft")


def num_processors() -> int:
    """Processors that this process may use."""
    # A container may be limited to some of them; only Linux reports which.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(
    work: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int, prefetch: int
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item, in order, computed in `num_threads` threads.

    At most `num_threads + prefetch` results are finished or in progress while the consumer is busy.
    An exception in `work` is raised in place of its result. The threads start with the first `next`
    and have ended when the generator is exhausted or closed or has raised.

    Raises:
        ConfigError: there is no thread or a negative number to prefetch (raised by the call).
    """
    _check(num_threads=num_threads, prefetch=prefetch)

    def results() -> Generator[Result, None, None]:
        pool = ThreadPoolExecutor(num_threads, thread_name_prefix="daam-batches")
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > num_threads + prefetch:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            _shut_down(pool, pending)

    return results()


def parallel_fill(
    begin: Callable[[Item], Draft],
    fill: Callable[[Draft, int], None],
    items: Iterable[Item],
    *,
    num_parts: int,
    num_threads: int,
    prefetch: int,
) -> Generator[Draft, None, None]:
    """Yield `begin(item)` for each item, in order, once `fill` has filled all its parts.

    Threads share the parts of an item, so the first result is finished sooner than if each thread
    made one of its own, and fewer are in progress: at most `1 + prefetch` while the consumer is
    busy. The first result is made alone. Exceptions and threads behave as in `parallel_map`.

    Raises:
        ConfigError: there is no thread or a negative number to prefetch (raised by the call).
    """
    _check(num_threads=num_threads, prefetch=prefetch)

    def results() -> Generator[Draft, None, None]:
        pool = ThreadPoolExecutor(num_threads, thread_name_prefix="daam-batches")
        pending: deque[tuple[Future[Draft], list[Future[None]]]] = deque()

        def fill_part(begun: Future[Draft], part: int) -> None:
            # No deadlock: the pool got `begin` before the parts, so a thread is running it.
            fill(begun.result(), part)

        def submit(item: Item) -> None:
            begun = pool.submit(begin, item)
            parts = [pool.submit(fill_part, begun, part) for part in range(num_parts)]
            pending.append((begun, parts))

        def next_filled() -> Draft:
            begun, parts = pending.popleft()
            for part in parts:
                part.result()
            return begun.result()

        try:
            for number, item in enumerate(items):
                submit(item)
                # With a cold cache, others would compete with the first.
                if number == 0 or len(pending) > 1 + prefetch:
                    yield next_filled()
            while pending:
                yield next_filled()
        finally:
            _shut_down(pool, (future for begun, parts in pending for future in (begun, *parts)))

    return results()


def _check(*, num_threads: int, prefetch: int) -> None:
    if num_threads < 1 or prefetch < 0:
        raise ConfigError(
            f"{num_threads} threads and {prefetch} prefetched batches are not possible; choose at "
            "least 1 thread and at least 0 batches"
        )


def _shut_down(pool: ThreadPoolExecutor, pending: Iterable[Future[Any]]) -> None:
    """Cancel queued tasks and wait for running ones."""
    # `shutdown(cancel_futures=True)` fails in a generator closed at the interpreter's exit.
    for future in pending:
        future.cancel()
    pool.shutdown(wait=True)
