import threading
import time

import pytest

from daam.data.ahead import work_ahead
from daam.errors import ConfigError


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("daam-batches")]


def test_results_come_in_order_although_the_first_takes_longest():
    def work(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    results = work_ahead(work, range(20), num_threads=4, prefetch=1)
    assert list(results) == [item * item for item in range(20)]
    assert own_threads() == []


def test_work_stays_within_its_bound_of_the_consumer():
    done = []
    results = work_ahead(done.append, range(50), num_threads=2, prefetch=3)
    for num_consumed in range(1, 10):
        next(results)
        time.sleep(0.005)
        assert len(done) <= num_consumed + 2 + 3
    results.close()


def test_an_exception_is_raised_in_its_turn_and_ends_the_threads():
    def work(item: int) -> int:
        if item == 3:
            raise LookupError("no item 3")
        return item

    results = work_ahead(work, range(10), num_threads=2, prefetch=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="no item 3"):
        next(results)
    assert own_threads() == []


def test_closing_early_ends_the_threads():
    results = work_ahead(abs, range(1000), num_threads=3, prefetch=2)
    next(results)
    assert own_threads() != []
    results.close()
    assert own_threads() == []


def test_no_thread_starts_before_the_first_result_is_asked_for():
    work_ahead(abs, range(5), num_threads=2, prefetch=0)
    assert own_threads() == []


@pytest.mark.parametrize(("num_threads", "prefetch"), [(0, 2), (-1, 2), (1, -1)])
def test_impossible_numbers_are_refused_at_once(num_threads, prefetch):
    with pytest.raises(ConfigError, match="at least 1 thread"):
        work_ahead(abs, range(5), num_threads=num_threads, prefetch=prefetch)
