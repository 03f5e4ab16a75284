"""Run searches one after another on one cluster, as a process of its own.

    python tests/support/trials_of_two_workers.py NUM_HOSTS STUDY.toml FOLDER...

The cluster has two CPUs, on one host or two. In pytest's own process Ray's warnings would be
errors.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.cluster_utils import Cluster
from rich.console import Console

from daam.commands.terminal.study_display import StudyDisplay
from daam.config.load import read_toml
from daam.errors import DaamError
from daam.execution.connection import connected
from daam.storage import open_store
from tune.folder.folder import open_study
from tune.settings import study_config
from tune.study import enqueue_starts, search


@contextmanager
def cluster_of(num_hosts: int) -> Iterator[None]:
    """Connect to a cluster of exactly two CPUs."""
    if num_hosts == 1:
        with connected(num_cpus=2):
            yield
        return
    hosts = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        hosts.add_node(num_cpus=1)
        with connected(address=hosts.address):
            yield
    finally:
        hosts.shutdown()


def main(num_hosts: str, *places: str) -> int:
    """Search on such a cluster; return the number of searches that failed."""
    num_failed = 0
    with cluster_of(int(num_hosts)):
        for study_file, folder_uri in zip(places[::2], places[1::2], strict=True):
            config = study_config(read_toml(Path(study_file)), {})
            folder = open_store(folder_uri)
            with (
                tempfile.TemporaryDirectory() as directory,
                StudyDisplay(Console()) as display,
            ):
                scratch = Path(directory)
                study, publish = open_study(folder, config, scratch=scratch)
                enqueue_starts(config, study)
                try:
                    search(config, folder, study, publish=publish, scratch=scratch, watch=display)
                except DaamError as error:
                    num_failed += 1
                    print(f"daam: {error}", file=sys.stderr)
    return num_failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
