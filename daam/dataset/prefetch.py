"""Work done in threads ahead of whoever consumes its results."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from daam.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")
Draft = TypeVar("Draft")


def work_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int, prefetch: int
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item, in order, computed in `num_threads` threads.

    At most `num_threads + prefetch` results are finished or in work while the consumer is busy.
    An exception in `work` is raised in place of its result. The threads start with the first `next`
    and have ended when the generator is exhausted or closed or has raised.

    Raises:
        ConfigError: there is no thread or a negative number to prefetch (raised by the call).
    """
    _check(num_threads=num_threads, prefetch=prefetch)
    return _work_ahead(work, items, num_threads=num_threads, prefetch=prefetch)


def fill_ahead(
    begin: Callable[[Item], Draft],
    fill: Callable[[Draft, int], None],
    items: Iterable[Item],
    *,
    num_parts: int,
    num_threads: int,
    prefetch: int,
) -> Generator[Draft, None, None]:
    """Yield `begin(item)` for each item, in order, once all its parts are filled by `fill`.

    Threads share an item's parts, so the first result is there sooner than if each thread made one
    of its own, and fewer are under way: at most `1 + prefetch` while the consumer is busy.
    The first result is made alone. Exceptions and threads are dealt with as by `work_ahead`.

    Raises:
        ConfigError: there is no thread or a negative number to prefetch (raised by the call).
    """
    _check(num_threads=num_threads, prefetch=prefetch)
    return _fill_ahead(
        begin, fill, items, num_parts=num_parts, num_threads=num_threads, prefetch=prefetch
    )


def _check(*, num_threads: int, prefetch: int) -> None:
    if num_threads < 1 or prefetch < 0:
        raise ConfigError(
            f"{num_threads} threads and {prefetch} batches ahead of them can't make batches; "
            "choose at least 1 thread and at least 0 batches"
        )


def _work_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int, prefetch: int
) -> Generator[Result, None, None]:
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
        _end(pool, pending)


def _fill_ahead(
    begin: Callable[[Item], Draft],
    fill: Callable[[Draft, int], None],
    items: Iterable[Item],
    *,
    num_parts: int,
    num_threads: int,
    prefetch: int,
) -> Generator[Draft, None, None]:
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="daam-batches")
    pending: deque[tuple[Future[Draft], list[Future[None]]]] = deque()

    def fill_part(begun: Future[Draft], part: int) -> None:
        # It was given to the pool before its parts, so some thread is at it: no deadlock.
        fill(begun.result(), part)

    def submit(item: Item) -> tuple[Future[Draft], list[Future[None]]]:
        begun = pool.submit(begin, item)
        return begun, [pool.submit(fill_part, begun, part) for part in range(num_parts)]

    def finished(begun: Future[Draft], parts: list[Future[None]]) -> Draft:
        for part in parts:
            part.result()
        return begun.result()

    try:
        for number, item in enumerate(items):
            pending.append(submit(item))
            # The first result is waited for alone: with a cold cache, others would compete with it.
            if number == 0 or len(pending) > 1 + prefetch:
                yield finished(*pending.popleft())
        while pending:
            yield finished(*pending.popleft())
    finally:
        _end(pool, (future for begun, parts in pending for future in (begun, *parts)))


def _end(pool: ThreadPoolExecutor, pending: Iterable[Future[Any]]) -> None:
    """Let work that has not begun be, and wait for the rest."""
    # What `shutdown` offers for this fails in a generator that the interpreter closes at its exit.
    for future in pending:
        future.cancel()
    pool.shutdown(wait=True)
