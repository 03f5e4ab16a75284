"""Searches whose surroundings fail, one after another on one cluster, as a process of its own.

    python tests/support/searches_under_faults.py STUDY.toml FOLDER S3_URI [SMALL_DISK]

Each line of output that begins with `searched` tells how a search ended. In pytest's own process
Ray's warnings would be errors.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from daam.commands.terminal.study_display import StudyDisplay
from daam.config.load import read_toml, with_settings
from daam.errors import DaamError
from daam.execution.connection import connected
from daam.storage import open_store
from tests.support.commands import processes_of
from tests.support.fault_proxy import Fault, FaultProxy, Rule
from tune.folder.folder import open_study
from tune.report.live import LiveReport
from tune.search.watch import StudyWatch
from tune.settings import StudyConfig, study_config
from tune.study import enqueue_starts, search


class Killer(StudyDisplay):
    """Kills the process of the first trial, once, after its first epoch."""

    has_killed = False

    def progress(self, name: str, **epoch: Any) -> None:
        super().progress(name, **epoch)
        if not self.has_killed:
            self.has_killed = True
            titles = ("ray::study/trial-0000 plaza->campus", "ray::Runs")  # between Ray's calls
            (trial,) = [pid for it in titles for pid in processes_of(os.getsid(0), title=it)]
            os.kill(trial, signal.SIGKILL)


def with_restart(config: StudyConfig) -> StudyConfig:
    """A study of one trial, which may be restarted once."""
    study = config.study.model_copy(update={"num_trials": 1})
    run = with_settings(config.run, {"compute.max_failures": 1})
    return config.model_copy(update={"study": study, "run": run})


def searched(what: str, config: StudyConfig, folder_uri: str, *, display: StudyWatch) -> None:
    """Run a search, or go on with it, and print how it ended."""
    folder = open_store(folder_uri)
    with tempfile.TemporaryDirectory() as directory:
        study, publish = open_study(folder, config, scratch=Path(directory))
        enqueue_starts(config, study)
        error = ""
        try:
            search(config, folder, study, publish=publish, scratch=Path(directory), watch=display)
        except DaamError as raised:
            error = f"{type(raised).__name__}: {raised}"
        states = ",".join(trial.state.name for trial in study.get_trials(deepcopy=False))
        print(f"searched {what} | {states} | {error}", flush=True)


def main(study_file: str, folder_uri: str, s3_uri: str, *small_disk: str) -> None:
    """Run all searches."""
    config = study_config(read_toml(Path(study_file)), {})
    display = StudyDisplay(Console())
    with connected(num_cpus=1) as cluster:
        print(f"logs in {cluster.logs}")
        searched("killed", config, folder_uri, display=Killer(Console()))
        restarting = with_restart(config)
        uri = f"{folder_uri}-and-restarted"
        report = LiveReport(restarting, open_store(uri), watch=Killer(Console()))
        searched("restarted", restarting, uri, display=report)
        busy = Rule(fault=Fault.BUSY, methods=("PUT",), keys="trials/|stages/")
        with FaultProxy(os.environ["AWS_ENDPOINT_URL"], rule=busy) as proxy:
            uri = f"{s3_uri}?endpoint={proxy.endpoint}&deadline_s=1"
            searched("busy store", config, uri, display=display)
            proxy.set_rule(Rule())
            searched("store again", config, uri, display=display)
        for disk in small_disk:
            searched("full disk", config, f"{disk}/study", display=display)
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            searched("larger disk", config, f"{disk}/study", display=display)


if __name__ == "__main__":
    main(*sys.argv[1:])
