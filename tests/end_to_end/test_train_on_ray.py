"""Two runs on a Ray cluster: one undisturbed, and one to which everything happens.

The second loses a worker, then the process that drives its workers; it is resumed, stopped by
Ctrl-C, and resumed again. It must end with the weights of the first.
"""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from daam.execution.environment import ONE_MACHINE
from daam.runs.run_folder import read_reports, trained
from daam.storage import open_store
from tests.support.commands import (
    ROOT,
    Command,
    Finished,
    processes_of,
    ran,
    started,
    started_python,
)
from tests.support.private_s3 import PrivateS3, assert_holds_no_secret, private_s3

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

# Enough that each thing happens in the middle of the run.
NUM_EPOCHS = 12
WORKER = "ray::train/plaza-campus plaza->campus"
DRIVER = "ray::train plaza-campus"
LISTENING = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """The run that nothing happened to; data and results are in local folders."""

    folder: str
    finished: Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbed:
    """The other run, all of it on S3, and how each of its three commands ended."""

    folder: str
    server: PrivateS3
    addresses_of_workers: set[str]
    addresses_of_others: set[str]
    lost_its_driver: Finished
    stopped: Finished
    finished: Finished


@pytest.fixture(scope="module")
def server(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateS3]:
    """A store; what is started later has its keys in the environment."""
    with private_s3(tiny_root, scratch=tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(server: PrivateS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A cluster, which has printed its address."""
    script = str(ROOT / "tests" / "support" / "cluster_of_two.py")
    scratch = tmp_path_factory.mktemp("cluster")
    with (
        pytest.MonkeyPatch.context() as patch,
        started_python(script, scratch=scratch, stays=True) as command,
    ):
        # As on every cluster, and as on one that listens on loopback alone.
        for name, value in {"RAY_AUTH_MODE": "token", **ONE_MACHINE}.items():
            patch.setenv(name, value)
        command.until(lambda: command.out.endswith("\n"))
        yield command


@pytest.fixture(scope="module")
def on_cluster(cluster: Command) -> list[str]:
    return ["--address", cluster.out.strip()]


@pytest.fixture(scope="module")
def arguments(tiny_file: Path, on_cluster: list[str]) -> list[str]:
    return [
        *("train", "--transfer", "plaza->campus", "--workers", "2", "--config", str(tiny_file)),
        *("--set", f"optimiser.num_epochs={NUM_EPOCHS}", *on_cluster),
    ]


@pytest.fixture(scope="module")
def undisturbed(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    scratch = tmp_path_factory.mktemp("undisturbed")
    places = ("--storage", str(scratch / "runs"), "--stages", str(scratch / "stages"))
    finished = ran(*arguments, *places, scratch=scratch)
    return Undisturbed(folder=str(scratch / "runs" / "plaza-campus"), finished=finished)


@pytest.fixture(scope="module")
def disturbed(
    arguments: list[str],
    cluster: Command,
    on_cluster: list[str],
    server: PrivateS3,
) -> Disturbed:
    of_cluster = cluster.process.pid
    scratch = server.scratch  # its files are searched for secrets
    folder = f"{server.uri}/runs/plaza-campus"
    store = open_store(folder)

    def num_epochs() -> int:
        return len(read_reports(store))

    with started(*arguments, *server.settings, scratch=scratch / "first") as command:
        command.until(num_epochs)
        workers = set(processes_of(of_cluster, title=WORKER))
        others = set(processes_of(of_cluster)) - workers
        addresses = [listening_addresses(processes) for processes in (workers, others)]
        os.kill(max(workers), signal.SIGKILL)
        command.until(lambda: not workers & set(processes_of(of_cluster)))
        at_loss = num_epochs()
        command.until(lambda: num_epochs() > at_loss)
        (driver,) = processes_of(of_cluster, title=DRIVER)
        os.kill(driver, signal.SIGKILL)
        lost_its_driver = command.finished()
    at_resume = num_epochs()
    resume = ("train", "--resume", folder, *on_cluster)
    with started(*resume, scratch=scratch / "second") as command:
        command.until(lambda: num_epochs() > at_resume)
        os.kill(command.process.pid, signal.SIGINT)
        stopped = command.finished(within_s=120)
    assert num_epochs() < NUM_EPOCHS
    return Disturbed(
        folder=folder,
        server=server,
        addresses_of_workers=addresses[0],
        addresses_of_others=addresses[1],
        lost_its_driver=lost_its_driver,
        stopped=stopped,
        finished=ran(*resume, scratch=scratch / "third"),
    )


def listening_addresses(processes: set[int]) -> set[str]:
    """The addresses, in hexadecimal as Linux has them, at which any of the processes listens."""
    inodes = set()
    for process in processes:
        try:
            links = [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:  # it has ended meanwhile
            continue
        inodes |= {found[1] for link in links if (found := re.match(r"socket:\[(\d+)\]", link))}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENING and row[9] in inodes}


def epochs_printed(finished: Finished) -> list[str]:
    return [line.split()[1] for line in finished.out.splitlines() if line.startswith("epoch ")]


def test_two_workers_train_and_every_epoch_is_printed_once(undisturbed: Undisturbed) -> None:
    finished = undisturbed.finished
    assert finished.code == 0, finished.err
    assert epochs_printed(finished) == [f"{n}/{NUM_EPOCHS}" for n in range(1, NUM_EPOCHS + 1)]
    assert "Trained. Test it:" in finished.out
    folder = open_store(undisturbed.folder)
    assert [row["epoch"] for row in read_reports(folder)] == list(range(1, NUM_EPOCHS + 1))
    assert len(folder.list("checkpoints/epoch-")) == 2


def test_two_workers_share_their_source_stage(undisturbed: Undisturbed) -> None:
    first, second, *_ = read_reports(open_store(undisturbed.folder))
    assert (Path(undisturbed.folder).parents[1] / "stages" / first["stage/trained"]).is_dir()
    assert "stage/trained" not in second


def test_a_run_listens_on_loopback_alone(disturbed: Disturbed) -> None:
    assert disturbed.addresses_of_others  # Ray's own processes do listen
    assert disturbed.addresses_of_others <= LOOPBACK
    # Rank 0 has PyTorch's rendezvous store, which takes no address to listen at.
    assert disturbed.addresses_of_workers <= LOOPBACK | {"0" * 32}


def test_a_run_whose_worker_is_killed_continues_and_prints_every_epoch_once(
    disturbed: Disturbed,
) -> None:
    epochs = epochs_printed(disturbed.lost_its_driver)
    assert len(epochs) >= 2
    assert epochs == [f"{n}/{NUM_EPOCHS}" for n in range(1, len(epochs) + 1)]


def test_when_the_driving_process_is_killed_the_error_says_how_to_resume(
    disturbed: Disturbed,
) -> None:
    assert disturbed.lost_its_driver.code == 2
    error = disturbed.lost_its_driver.err
    assert "the process that drives the workers was killed" in error
    assert f"--resume {disturbed.folder}" in error
    assert "Traceback" not in error


def test_ctrl_c_says_how_to_resume(disturbed: Disturbed) -> None:
    assert disturbed.stopped.code == 130
    assert disturbed.stopped.err.strip().splitlines()[-1] == (
        "daam: the run was stopped; resume with: python launch.py train --resume "
        f"{disturbed.folder}"
    )
    assert "Traceback" not in disturbed.stopped.err


def test_the_disturbed_run_ends_with_exactly_the_weights_of_the_undisturbed_one(
    undisturbed: Undisturbed, disturbed: Disturbed
) -> None:
    assert disturbed.finished.code == 0, disturbed.finished.err
    assert epochs_printed(disturbed.finished)[-1] == f"{NUM_EPOCHS}/{NUM_EPOCHS}"
    assert "Trained. Test it:" in disturbed.finished.out
    reports = read_reports(open_store(disturbed.folder))
    assert [row["epoch"] for row in reports] == list(range(1, NUM_EPOCHS + 1))
    (_, first), (_, second) = trained(undisturbed.folder), trained(disturbed.folder)
    assert first["num_epochs_done"] == second["num_epochs_done"] == NUM_EPOCHS
    assert first["network"].keys() == second["network"].keys()
    for name, weight in first["network"].items():
        assert torch.equal(weight, second["network"][name]), name


def test_no_file_written_by_the_run_or_ray_holds_a_secret(disturbed: Disturbed) -> None:
    files = disturbed.server.files()
    suffixes = {path.suffix for path in files}
    assert suffixes > {".arrow", ".json", ".toml", ".pt", ".log", ".out", ".err"}
    assert_holds_no_secret(files)
