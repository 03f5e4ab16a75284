"""Run a search alone, as a process of its own: Ray's warnings are no errors there.

python -m tests.support.trials_of_two_workers STUDY.toml FOLDER
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from daam.commands.terminal.study_display import StudyDisplay
from daam.config.load import read_toml
from daam.errors import DaamError
from daam.execution.connection import connected
from daam.storage import open_store
from tune.folder import open_study
from tune.space import study_config
from tune.study import enqueue_defaults, search


def main(study_file: str, folder_uri: str) -> int:
    """Search on a cluster of exactly two CPUs."""
    config = study_config(read_toml(Path(study_file)), {})
    folder = open_store(folder_uri)
    with (
        tempfile.TemporaryDirectory() as directory,
        connected(num_cpus=2) as cluster,
        StudyDisplay(Console(), cluster.dashboard_url) as display,
    ):
        scratch = Path(directory)
        study, publish = open_study(folder, config, scratch=scratch)
        enqueue_defaults(config, study)
        try:
            search(config, folder, study, publish=publish, scratch=scratch, watch=display)
        except DaamError as error:
            print(f"daam: {error}", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
