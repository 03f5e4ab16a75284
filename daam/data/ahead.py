"""Work done in threads ahead of whoever consumes its results."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from daam.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    if num_threads < 1 or prefetch < 0:
        raise ConfigError(
            f"{num_threads} threads and {prefetch} batches ahead of them can't make batches; "
            "choose at least 1 thread and at least 0 batches"
        )
    return _work_ahead(work, items, num_threads=num_threads, prefetch=prefetch)


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
        pool.shutdown(wait=True, cancel_futures=True)
