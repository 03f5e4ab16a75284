import gc
import os
import threading
from collections.abc import Iterator

import pytest

from daam.storage.collector import paused_collector


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was_enabled else gc.disable)()


def test_it_stands_still_inside_and_goes_on_afterwards_also_after_an_error():
    with paused_collector():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="inside"), paused_collector():
        raise ValueError("inside")
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off():
    gc.disable()
    with paused_collector():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_it_stands_still_until_the_last_of_several_threads_is_through():
    begun, may_end = threading.Event(), threading.Event()

    def pause() -> None:
        with paused_collector():
            begun.set()
            may_end.wait(10)

    with paused_collector():
        other = threading.Thread(target=pause)
        other.start()
        assert begun.wait(10)
    assert not gc.isenabled()
    may_end.set()
    other.join()
    assert gc.isenabled()


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_forked_meanwhile_collects():
    begun, may_end = threading.Event(), threading.Event()

    def pause() -> None:
        with paused_collector():
            begun.set()
            may_end.wait(10)

    other = threading.Thread(target=pause)
    other.start()
    assert begun.wait(10)
    child = os.fork()
    if child == 0:
        works = gc.isenabled()
        with paused_collector():
            works &= not gc.isenabled()
        os._exit(0 if works and gc.isenabled() else 1)
    _, status = os.waitpid(child, 0)
    may_end.set()
    other.join()
    assert os.waitstatus_to_exitcode(status) == 0
