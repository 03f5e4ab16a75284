"""Runs of one source stage in processes of their own: killed, at the same time, of two ranks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from daam.runs.run_folder import trained
from daam.runs.worker import train_run
from daam.storage import Store
from daam.storage.local import LocalStore
from tests.support.staged_run import config_of
from tests.support.tiny_runs import same

REPOSITORY = Path(__file__).resolve().parents[2]
TAKEN = [f"epoch {epoch} stage/reused" for epoch in (1, 2, 3)]
TRAINED = [f"epoch {epoch} stage/trained" for epoch in (1, 2, 3)]
ADAPTED = ["epoch 4", "epoch 5"]

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tiny_root: Path, store: Store) -> Iterator[Start]:
    """Starts `tests.support.staged_run` in the store; ends what is left of it."""
    processes = []

    def run(name: str, **given: Any) -> subprocess.Popen[str]:
        given = {"root": str(tiny_root), "stages": store.child("stages").uri} | given
        given["folder"] = store.child(name).uri
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.staged_run", json.dumps(given)],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read what a process prints, up to a line that holds the text."""
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line.strip())
        if text in line:
            return seen
    raise AssertionError(f"it ended without {text!r}: {seen}")


def epochs(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a process to end well; return the epochs it printed since."""
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return [line for line in said.splitlines() if line.startswith("epoch")]


@pytest.fixture
def undisturbed(tiny_root: Path, tmp_path: Path) -> dict[str, Any]:
    """The last state of a run that trains everything itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    list(train_run(LocalStore(tmp_path / "alone"), config_of(tiny_root)))
    torch.set_num_threads(before)
    return trained(str(tmp_path / "alone"))[1]


def test_one_trains_and_another_waits_and_goes_on_when_it_is_killed(
    start: Start, store: Store, undisturbed: dict[str, Any]
) -> None:
    first = start("first", target="station", stop_after=2)
    lines_until(first, "epoch 2")
    second = start("second")
    seen = lines_until(second, "waiting for the run that trains")
    assert not [line for line in seen if line.startswith("epoch")]
    first.kill()
    first.wait()
    assert epochs(second) == TAKEN[:2] + TRAINED[2:] + ADAPTED
    assert same(trained(store.child("second").uri)[1], undisturbed)


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_two_ranks_train_a_stage_together_and_take_one_over_together(
    start: Start, store: Store, tmp_path: Path
) -> None:
    def together(name: str) -> list[str]:
        meeting = str(tmp_path / f"{name}.meeting")
        ranks = [start(name, rank=rank, num_ranks=2, meeting=meeting) for rank in range(2)]
        found = [epochs(rank) for rank in ranks]
        assert found[0] == found[1]
        return found[0]

    assert together("first") == TRAINED + ADAPTED
    assert together("second") == TAKEN + ADAPTED
    states = [trained(store.child(name).uri)[1] for name in ("first", "second")]
    assert same(states[0], states[1])
