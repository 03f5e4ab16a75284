"""What a forked child must make anew: a lock that another thread of its parent held stays held."""

import os
from functools import cache
from typing import Protocol
from weakref import WeakSet

_known: "WeakSet[Renewed]" = WeakSet()


class Renewed(Protocol):
    """Something with locks or threads."""

    def renew(self) -> None:
        """Make them anew; called in a forked child, which has no other thread yet."""
        ...


def renew_in_children(thing: Renewed) -> None:
    """Have this process's forked children renew a thing if it still lives."""
    _listen()
    _known.add(thing)


@cache
def _listen() -> None:
    os.register_at_fork(after_in_child=_renew_all)


def _renew_all() -> None:
    for thing in list(_known):
        thing.renew()
