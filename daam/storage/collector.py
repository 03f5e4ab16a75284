"""Python's cycle collector, out of the way where a lot is allocated that stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Collect nothing inside the block.

    Each collection walks all that is alive: some 50 ms where torch was imported. Importing boto3
    and making a client of it sets off five of them and leaves hardly a cycle behind: two thirds of
    their time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
