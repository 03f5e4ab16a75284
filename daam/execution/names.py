"""The names by which Ray's dashboard shows our work: jobs and processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray._private.worker
import ray._raylet

from daam import __version__


def job_metadata(name: str, *, transfers: Sequence[str]) -> dict[str, str]:
    """Return what the dashboard's Jobs page says of a job, also without `ray job submit`.

    Args:
        name: of the job, such as `tune demo`.
        transfers: that it trains on.
    """
    return {"job_name": name, "transfers": ", ".join(transfers), "daam": __version__}


_names: list[str] = []  # of what runs in this process, the newest last


@contextmanager
def process_named(name: str) -> Iterator[None]:
    """Title this worker's process `ray::NAME` inside the block, on the Cluster page and in `ps`.

    Ray sets the title of an actor's process before and after every call of a method, several times
    a second under Ray Train, and has no setting against it: the function that does it is replaced.
    The package setproctitle has no effect beside it.
    """
    _names.append(name)
    _set_title("")
    try:
        yield
    finally:
        _names.remove(name)


@contextmanager
def _titled(title: str, next_title: str) -> Iterator[None]:
    """Do what Ray's own function does, unless the process has a name."""
    _set_title(title)
    try:
        yield
    finally:
        _set_title(next_title)


def _set_title(title: str) -> None:
    name = f"ray::{_names[-1]}" if _names else title
    ray._raylet.setproctitle(name)  # pyright: ignore[reportAttributeAccessIssue]  (compiled)


# At the import, so before the call that starts a run: that one would set Ray's title at its end.
ray._private.worker._changeproctitle = _titled
