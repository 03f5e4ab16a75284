"""`train --workers 2` on one machine: stopped from outside, and resumed to its end."""

import os
import signal
from pathlib import Path

import pytest

from daam.runs.run_folder import read_reports
from daam.storage import open_store
from tests.support.commands import processes_of, ran, started

pytestmark = pytest.mark.slow

NUM_EPOCHS = 60


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_how_to_resume_and_leaves_no_worker(
    number: signal.Signals, code: int, tiny_file: Path, tmp_path: Path
) -> None:
    arguments = ("train", "--transfer", "plaza->campus", "--config", str(tiny_file))
    workers = ("--workers", "2", "--set", f"optimiser.num_epochs={NUM_EPOCHS}")
    folder = tmp_path / "runs" / "plaza-campus"
    with started(
        *arguments, *workers, "--storage", str(folder.parent), scratch=tmp_path / "first"
    ) as command:
        command.until(lambda: "epoch 2/" in command.out)
        assert len(processes_of(command.process.pid)) == 3
        os.kill(command.process.pid, number)
        stopped = command.finished(within_s=30)
        assert not processes_of(command.process.pid)
    assert stopped.code == code
    assert stopped.err.strip().splitlines()[-1].endswith(f"train --resume {folder}")
    assert "Traceback" not in stopped.err
    resumed = ran("train", "--resume", str(folder), scratch=tmp_path / "second")
    assert resumed.code == 0, resumed.err
    reports = read_reports(open_store(str(folder)))
    assert [row["epoch"] for row in reports] == list(range(1, NUM_EPOCHS + 1))
