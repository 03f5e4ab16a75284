import threading
import time

import pytest

from daam.dataset.parallel import parallel_fill, parallel_map
from daam.errors import ConfigError


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("daam-batches")]


def test_results_come_in_order_although_the_first_takes_longest():
    def work(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    results = parallel_map(work, range(20), num_threads=4, prefetch=1)
    assert list(results) == [item * item for item in range(20)]
    assert own_threads() == []


def test_work_stays_within_its_bound_of_the_consumer():
    done = []
    results = parallel_map(done.append, range(50), num_threads=2, prefetch=3)
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

    results = parallel_map(work, range(10), num_threads=2, prefetch=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="no item 3"):
        next(results)
    assert own_threads() == []


def test_closing_early_ends_the_threads():
    results = parallel_map(abs, range(1000), num_threads=3, prefetch=2)
    next(results)
    assert own_threads() != []
    results.close()
    assert own_threads() == []


def test_no_thread_starts_before_the_first_result_is_asked_for():
    parallel_map(abs, range(5), num_threads=2, prefetch=0)
    assert own_threads() == []


@pytest.mark.parametrize(("num_threads", "prefetch"), [(0, 2), (-1, 2), (1, -1)])
def test_impossible_numbers_are_refused_at_once(num_threads, prefetch):
    with pytest.raises(ConfigError, match="at least 1 thread"):
        parallel_map(abs, range(5), num_threads=num_threads, prefetch=prefetch)


class Basket:
    """Counts what was put into it."""

    def __init__(self, item: int) -> None:
        self.item = item
        self.parts: set[int] = set()


def put(basket: Basket, part: int) -> None:
    basket.parts.add(part)


@pytest.mark.parametrize("num_threads", [1, 2, 8])
@pytest.mark.parametrize("num_parts", [1, 3])
def test_what_is_filled_in_parts_comes_whole_and_in_order(num_threads, num_parts):
    made = parallel_fill(
        Basket, put, range(30), num_parts=num_parts, num_threads=num_threads, prefetch=2
    )
    for item, basket in enumerate(made):
        assert basket.item == item
        assert basket.parts == set(range(num_parts))
    assert own_threads() == []


def test_no_more_is_begun_than_one_besides_what_may_wait():
    begun = []
    made = parallel_fill(
        begun.append, lambda *_: None, range(50), num_parts=2, num_threads=4, prefetch=3
    )
    for num_consumed in range(1, 10):
        next(made)
        time.sleep(0.005)
        assert len(begun) <= num_consumed + 1 + 3
    made.close()
    assert own_threads() == []


def test_nothing_competes_with_the_first_result_and_much_with_the_second():
    begun = []
    made = parallel_fill(
        begun.append, lambda *_: None, range(50), num_parts=2, num_threads=4, prefetch=3
    )
    next(made)
    assert begun == [0]
    next(made)
    assert len(begun) > 2
    made.close()


@pytest.mark.parametrize("stage", ["begin", "fill"])
def test_an_exception_at_any_stage_is_raised_in_its_turn_and_ends_the_threads(stage):
    def begin(item: int) -> Basket:
        if item == 3 and stage == "begin":
            raise LookupError("no item 3")
        return Basket(item)

    def fill(basket: Basket, part: int) -> None:
        if basket.item == 3 and part == 1 and stage == "fill":
            raise LookupError("no item 3")

    made = parallel_fill(begin, fill, range(10), num_parts=2, num_threads=2, prefetch=2)
    assert [next(made).item for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="no item 3"):
        next(made)
    assert own_threads() == []


def test_filling_without_a_thread_is_refused_at_once():
    with pytest.raises(ConfigError, match="at least 1 thread"):
        parallel_fill(Basket, put, range(5), num_parts=1, num_threads=0, prefetch=2)
