"""What surrounds a search fails: no trial is booked for it, and all goes on once it is over."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daam.runs.run_folder import read_reports
from daam.storage import open_store
from tests.support.commands import ROOT, Finished, started_python
from tune.folder.events import history_of, read_events

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

NUM_EPOCHS = 6
STUDY = """
[study]
search_transfers = ["plaza->campus"]
num_trials = 2
max_interrupted = 2
num_startup_trials = 2
concurrent_trials = 1

[search]
"optimiser.learning_rate" = [1e-3, 2e-3, 5e-3]
"""
IS_ROOT = os.geteuid() == 0  # only root can make a disk that is too small


@contextmanager
def small_disk(place: Path) -> Iterator[list[str]]:
    """Mount a disk that holds a study's journal but no checkpoint; none without the right to."""
    if not IS_ROOT:
        yield []
        return
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
    if subprocess.run(mount, check=False).returncode != 0:  # in a container
        yield []
        return
    try:
        yield [str(place)]
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searches") / "killed"


@pytest.fixture(scope="module")
def ends(
    tiny_file: Path,
    folder: Path,
    s3_server: object,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Finished]:
    """The output of all searches."""
    scratch = tmp_path_factory.mktemp("faults")
    file = scratch / "study.toml"
    text = re.sub("max_failures = .*", "max_failures = 0", tiny_file.read_text())
    file.write_text(re.sub("num_epochs = .*", f"num_epochs = {NUM_EPOCHS}", text) + STUDY)
    script = str(ROOT / "tests" / "support" / "searches_under_faults.py")
    with small_disk(scratch / "disk") as disks:
        places = (str(file), str(folder), "s3://daam-tests/searches", *disks)
        with started_python(script, *places, scratch=scratch / "out") as command:
            finished = command.finished(within_s=500)
        assert finished.code == 0, finished.err
        yield finished


def end_of(ends: Finished, what: str) -> tuple[list[str], str]:
    """The states of the trials after a search, and the error that it ended with."""
    found = re.search(rf"^searched {what} \| (\S*) \| (.*)$", ends.out, re.MULTILINE)
    if found is None:
        pytest.skip("without root there is no disk that is too small")
    return found[1].split(","), found[2]


def test_a_trial_whose_process_was_killed_is_resumed_after_the_others(
    ends: Finished, folder: Path
) -> None:
    states, error = end_of(ends, "killed")
    assert states == ["COMPLETE"] * 2
    assert error == ""
    order = re.findall(r"(trial-\d+) (INTERRUPTED|COMPLETE)", ends.out)[:3]
    assert order == [
        ("trial-0000", "INTERRUPTED"),
        ("trial-0001", "COMPLETE"),
        ("trial-0000", "COMPLETE"),
    ]
    for number in range(2):
        reports = read_reports(open_store(f"{folder}/trials/trial-000{number}/plaza-campus"))
        assert [row["epoch"] for row in reports] == list(range(1, NUM_EPOCHS + 1))


def test_a_restart_is_one_line_of_the_progress_and_an_event_in_the_folder(
    ends: Finished, folder: Path
) -> None:
    states, error = end_of(ends, "restarted")
    assert (states, error) == (["COMPLETE"], "")
    progress = ends.out.partition("searched killed")[2].partition("searched restarted")[0]
    (line,) = (line[9:] for line in progress.splitlines() if "restart 1 of 1" in line)
    found = re.fullmatch(
        r"trial-0000: its process was killed \(out of memory\?\), restart 1 of 1, "
        r"continues from epoch (\d)",
        line,
    )
    assert found is not None, line
    assert "trial-0000 epoch 1/6 (stored)" in progress
    restarted = open_store(f"{folder}-and-restarted")
    events = read_events(restarted)
    assert [event["kind"] for event in events] == [
        *("driver", "trains_on", "process_killed", "trains_on")
    ]
    assert events[2]["text"] == line
    assert (events[2]["restart"], events[2]["epoch"]) == (1, int(found[1]))
    assert events[1]["host"] == events[2]["host"]
    assert history_of(restarted).restarts == {"trial-0000": 1}


def test_stack_traces_are_in_rays_logs_alone(ends: Finished) -> None:
    assert "Traceback" not in ends.out + ends.err
    for words in ("died unexpectedly", "A worker died", "raylet"):
        assert words not in ends.out + ends.err
    found = re.search(r"^logs in (.*)$", ends.out, re.MULTILINE)
    assert found is not None
    (log,) = Path(found[1]).glob("daam-*.log")
    text = log.read_text()
    assert "Trial task failed" in text
    assert "A worker died" in text


@pytest.mark.parametrize(
    ("what", "reason"),
    [("busy store", "answers .*SlowDown"), ("full disk", "no space left to write")],
)
def test_a_fault_pauses_the_search_and_says_why(ends: Finished, what: str, reason: str) -> None:
    states, error = end_of(ends, what)
    assert states == ["RUNNING"] * 2
    assert re.match(f"StudyPausedError: the study paused after 0 of 2 trials.*{reason}", error)
    assert "--resume" in error


@pytest.mark.parametrize("what", ["store again", "larger disk"])
def test_all_trials_finish_once_the_fault_is_over(ends: Finished, what: str) -> None:
    assert end_of(ends, what) == (["COMPLETE"] * 2, "")
