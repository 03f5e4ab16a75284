"""The names by which Ray's dashboard shows our work: jobs and processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray._private.worker

from daam import __version__


def job_metadata(name: str, *, transfers: Sequence[str]) -> dict[str, str]:
    """Return what the dashboard's Jobs page says of a job, also without `ray job submit`.

    Args:
        name: of the job, such as `tune demo`.
        transfers: that it trains on.
    """
    return {"job_name": name, "transfers": ", ".join(transfers), "daam": __version__}


@contextmanager
def process_named(name: str) -> Iterator[None]:
    """Title this worker's process `ray::NAME` inside the block, on the Cluster page and in `ps`.

    Ray sets the title of an actor's process at every call of a method, several times a second under
    Ray Train, and has no setting against it. So the function that does it is replaced by itself
    with another title. The package setproctitle has no effect beside it.
    """
    title, set_title = f"ray::{name}", ray._private.worker._changeproctitle
    ray._private.worker._changeproctitle = lambda *_: set_title(title, title)
    try:
        with set_title(title, title):
            yield
    finally:
        ray._private.worker._changeproctitle = set_title
