"""Processes that train as one: kept between runs, ended with the process that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from daam.dataset.cache.traffic import TRAFFIC
from daam.errors import ConfigError, TrainingError, WorkersError
from daam.runs import ranks
from daam.runs.ranks import RankLostError, Ranks, train_in_processes
from daam.runs.run_folder import read_reports, start_run, trained
from daam.storage import open_store
from tests.support.commands import ROOT
from tests.support.rank_work import epochs, fails_on
from tests.support.tiny_domains import add_domain
from tests.support.tiny_runs import same, tiny_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with the domains plaza and campus; not to be changed."""
    folder = tmp_path_factory.mktemp("domains")
    for name in ("plaza", "campus"):
        add_domain(open_store(str(folder / "store")), name, scratch=folder)
    return folder / "store"


@pytest.fixture(scope="module")
def pair() -> Iterator[Ranks]:
    with Ranks(2, use_gpu=False, num_threads=1) as group:
        yield group


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_each_epoch_is_that_of_all_ranks(pair: Ranks) -> None:
    before = TRAFFIC.num_images
    rows = list(pair.epochs(partial(epochs, 3)))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["mean"] for row in rows] == [1.5, 2.5, 3.5]
    assert len(set(rows[0]["processes"])) == 2
    assert rows[0]["threads"] == [1, 1]
    assert TRAFFIC.num_images == before + 6, "what they read is counted here"


def test_they_stay_for_the_next_run_when_one_ends_or_is_left(pair: Ranks) -> None:
    (first,) = pair.epochs(partial(epochs, 1))
    (left,) = islice(pair.epochs(partial(epochs, 9)), 1)
    (last,) = pair.epochs(partial(epochs, 1))
    assert first["processes"] == left["processes"] == last["processes"]


def test_an_error_of_one_rank_is_raised_and_the_others_are_not_waited_for(pair: Ranks) -> None:
    (row,) = pair.epochs(partial(epochs, 1))
    began = time.monotonic()
    with pytest.raises(ConfigError, match="rank 1 fails"):
        list(pair.epochs(partial(fails_on, 1)))
    assert time.monotonic() - began < 60
    assert not any(is_alive(process) for process in row["processes"])
    assert list(pair.epochs(partial(epochs, 1))), "the next run starts others"


def test_a_rank_that_is_killed_ends_the_group(pair: Ranks) -> None:
    found = pair.epochs(partial(epochs, 5))
    row = next(found)
    os.kill(row["processes"][1], signal.SIGKILL)
    with pytest.raises(RankLostError, match="worker 2 of 2 was killed by SIGKILL"):
        list(found)
    assert not is_alive(row["processes"][0])


def test_they_end_with_the_process_that_started_them() -> None:
    program = """
from functools import partial
from daam.runs.ranks import Ranks
from tests.support.rank_work import epochs
group = Ranks(2, use_gpu=False)
print(*next(group.epochs(partial(epochs, 1)))["processes"], flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        processes = [int(number) for number in starter.stdout.readline().split()]
        assert len(processes) == 2
        starter.kill()
    deadline = time.monotonic() + 30
    while any(is_alive(process) for process in processes):
        assert time.monotonic() < deadline, "they go on without it"
        time.sleep(0.1)


def test_a_machine_that_is_too_small_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "num_processors", lambda: 1)
    config = tiny_config(tmp_path, {"compute.num_workers": 2, "compute.device": "cpu"})
    folder = open_store(str(tmp_path / "run"))
    with pytest.raises(TrainingError, match="2 workers need 2 CPUs and this machine has 1"):
        list(train_in_processes(folder, config))


def test_a_run_that_loses_a_worker_finds_what_it_finds_undisturbed(
    domains: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(domains, {"compute.num_workers": 2, "optimiser.num_epochs": 4})
    folders = []
    for name in ("undisturbed", "disturbed"):
        folder = start_run(str(tmp_path / name), config)
        folders.append(folder)
        rows = []
        for row in train_in_processes(folder, config):
            rows.append(row["epoch"])
            if name == "disturbed" and row["epoch"] == 2:
                os.kill(rank_of_this_process(), signal.SIGKILL)
        assert rows == [1, 2, 3, 4]
    assert "was killed by SIGKILL: restart 1 of 3" in caplog.text
    (_, first), (_, second) = (trained(folder.uri) for folder in folders)
    assert same(first["network"], second["network"])
    assert [row["loss/total"] for row in read_reports(folders[0])] == [
        row["loss/total"] for row in read_reports(folders[1])
    ]


def test_a_run_that_loses_workers_too_often_says_how_to_resume(
    domains: Path, tmp_path: Path
) -> None:
    changes = {"compute.num_workers": 2, "compute.max_failures": 0, "optimiser.num_epochs": 4}
    config = tiny_config(domains, changes)
    folder = start_run(str(tmp_path / "run"), config)
    found = train_in_processes(folder, config)
    next(found)
    os.kill(rank_of_this_process(), signal.SIGKILL)
    with pytest.raises(WorkersError, match=rf"--resume {folder.uri}"):
        list(found)


def rank_of_this_process() -> int:
    """Return the newest process that was started as a rank by this one."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    ranks = [child for child in map(int, children) if is_alive(child) and is_rank(child)]
    return max(ranks)


def is_rank(process: int) -> bool:
    return b"daam.runs.ranks" in Path(f"/proc/{process}/cmdline").read_bytes()
