"""`launch.py train --workers 2` on a real Ray cluster, undisturbed and with a worker killed."""

import os
import signal
from pathlib import Path

import pytest
import torch

from daam.runs.run_folder import read_reports, trained
from daam.storage import open_store
from tests.support.commands import Command, Finished, processes_of, ran, started

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

NUM_EPOCHS = 12
WORKER = "ray::RayTrainWorker"
DRIVER = "ray::drive_run"


@pytest.fixture(scope="module")
def arguments(tiny_root: Path, tiny_file: Path) -> list[str]:
    """Two workers, and enough epochs that a worker can be killed in the middle."""
    return [
        *("train", "--transfer", "plaza->campus", "--workers", "2", "--config", str(tiny_file)),
        *("--set", f"optimiser.num_epochs={NUM_EPOCHS}"),
    ]


@pytest.fixture(scope="module")
def undisturbed(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    scratch = tmp_path_factory.mktemp("undisturbed")
    finished = ran(*arguments, "--storage", str(scratch / "runs"), scratch=scratch)
    check(finished)
    return scratch / "runs" / "plaza-campus"


def check(finished: Finished) -> None:
    """It trained, and said so."""
    assert finished.code == 0, finished.err
    assert f"epoch {NUM_EPOCHS}/{NUM_EPOCHS}" in finished.out
    assert "Trained. Test it:" in finished.out


def assert_equal_weights(one: str, other: str) -> None:
    (_, first), (_, second) = trained(one), trained(other)
    assert first["num_epochs_done"] == second["num_epochs_done"] == NUM_EPOCHS
    for name, weight in first["network"].items():
        assert torch.equal(weight, second["network"][name]), name


def kill_one_worker(command: Command, *, folder: str) -> None:
    """Kill a worker once the run has stored its first checkpoint."""
    store = open_store(folder)
    command.until(lambda: read_reports(store))
    workers = processes_of(command.process.pid, title=WORKER)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    assert len(read_reports(store)) < NUM_EPOCHS


def test_two_workers_train_and_every_epoch_is_printed_once(undisturbed: Path) -> None:
    folder = open_store(str(undisturbed))
    assert [row["epoch"] for row in read_reports(folder)] == list(range(1, NUM_EPOCHS + 1))
    assert len(folder.list("checkpoints/epoch-")) == 2


def test_a_run_whose_worker_is_killed_ends_with_the_very_same_weights(
    arguments: list[str], undisturbed: Path, s3_uri: str, tmp_path: Path
) -> None:
    """Its checkpoints are on S3, those of the undisturbed run in a folder."""
    folder = f"{s3_uri}/plaza-campus"
    with started(*arguments, "--storage", s3_uri, scratch=tmp_path) as command:
        kill_one_worker(command, folder=folder)
        finished = command.finished()
    check(finished)
    assert_equal_weights(folder, str(undisturbed))
    epochs = [line.split()[1] for line in finished.out.splitlines() if line.startswith("epoch ")]
    assert epochs == [f"{epoch}/{NUM_EPOCHS}" for epoch in range(1, NUM_EPOCHS + 1)]


def test_when_the_driving_process_is_killed_the_error_says_how_to_go_on_with_the_same_weights(
    arguments: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    folder = str(tmp_path / "runs" / "plaza-campus")
    with started(*arguments, "--storage", str(tmp_path / "runs"), scratch=tmp_path) as command:
        command.until(lambda: read_reports(open_store(folder)))
        (driver,) = processes_of(command.process.pid, title=DRIVER)
        os.kill(driver, signal.SIGKILL)
        stopped = command.finished()
    assert stopped.code == 2
    assert "the process that drives the workers was killed" in stopped.err
    assert f"--resume {folder}" in stopped.err
    assert "Traceback" not in stopped.err
    check(ran("train", "--resume", folder, scratch=tmp_path / "again"))
    assert_equal_weights(folder, str(undisturbed))
