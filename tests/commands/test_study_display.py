"""What a study says of itself while it runs."""

import io
import re

import pytest
from rich.console import Console

from daam.commands.terminal.study_display import StudyDisplay


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(log: io.StringIO) -> StudyDisplay:
    """A display whose output is no terminal, ten seconds into a search of four runs."""
    display = StudyDisplay(Console(file=log, width=80))
    display.phase("search", num_runs=4, num_done=0, best=None)
    display.began -= 10
    return display


def test_without_a_terminal_every_event_is_a_plain_line(log: io.StringIO) -> None:
    with StudyDisplay(Console(file=log, width=40)) as display:
        display.phase("search", num_runs=2, num_done=0, best=None)
        display.progress("trial-0000", epoch=1, num_epochs=2, score=0.5)
        display.progress("[red]", epoch=1, num_epochs=2, score=None)
        display.ended("trial-0000", state="COMPLETE", score=0.75)
    lines = log.getvalue().splitlines()
    assert "\x1b" not in log.getvalue()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[9:] for line in lines] == [
        "search: 2 runs, 0 done before",
        "trial-0000 epoch 1/2 score 0.500",
        "[red] epoch 1/2",
        "trial-0000 COMPLETE score 0.750; 1 of 2 over, best 0.750, 0:00 left",
    ]


def test_in_a_terminal_there_is_a_table_with_all_there_is_to_know(log: io.StringIO) -> None:
    console = Console(file=log, width=80, height=40, force_terminal=True)
    with StudyDisplay(console) as display:
        display.phase("search", num_runs=3, num_done=1, best=None)
        display.progress("trial-0001", epoch=2, num_epochs=2, score=0.625)
        display.ended("trial-0001", state="COMPLETE", score=0.625)
        display.progress("trial-0002", epoch=1, num_epochs=2, score=0.25)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.getvalue())
    assert re.search(r"search +━+╺━+ +2 of 3 over +best 0\.625 +0:\d\d left", shown)
    assert re.search(r"^run +state +epoch +score", shown, re.MULTILINE)  # a line of its own
    assert re.search(r"trial-0001 +COMPLETE +2/2 +0\.625", shown)
    assert re.search(r"trial-0002 +running +1/2 +0\.250", shown)


def test_the_time_left_is_unknown_before_anything_is_done(display: StudyDisplay) -> None:
    assert display.time_left() == "?"


def test_the_time_left_counts_runs_by_the_epochs_they_have_done(display: StudyDisplay) -> None:
    display.progress("a", epoch=1, num_epochs=4, score=0.1)
    assert display.time_left() == "2:30"  # a quarter of a run took 10 s, 3.75 are left
    display.progress("a", epoch=2, num_epochs=4, score=0.1)
    display.progress("b", epoch=2, num_epochs=4, score=0.1)
    assert display.time_left() == "0:30"


def test_a_run_that_was_stopped_early_counts_as_whole(display: StudyDisplay) -> None:
    display.progress("a", epoch=1, num_epochs=4, score=0.1)
    display.ended("a", state="PRUNED", score=0.1)
    assert display.time_left() == "0:30"


def test_the_pace_is_that_of_this_process(display: StudyDisplay) -> None:
    display.phase("search", num_runs=4, num_done=2, best=None)
    display.began -= 10
    display.ended("c", state="COMPLETE", score=0.1)
    assert display.num_over() == 3
    assert display.time_left() == "0:10"


def test_the_best_is_that_of_complete_runs(display: StudyDisplay) -> None:
    assert display.best() is None
    display.progress("running", epoch=1, num_epochs=2, score=0.9)
    display.ended("pruned", state="PRUNED", score=0.8)
    display.ended("failed", state="FAIL", score=0.7)
    assert display.best() is None
    display.ended("complete", state="COMPLETE", score=0.6)
    display.ended("worse", state="COMPLETE", score=0.5)
    assert display.best() == 0.6


def test_the_best_of_an_earlier_process_counts(display: StudyDisplay) -> None:
    display.phase("search", num_runs=4, num_done=2, best=0.7)
    assert display.best() == 0.7
    display.ended("c", state="COMPLETE", score=0.6)
    assert display.best() == 0.7
    display.ended("d", state="COMPLETE", score=0.8)
    assert display.best() == 0.8


def test_a_new_phase_begins_with_nothing(display: StudyDisplay) -> None:
    display.ended("a", state="COMPLETE", score=0.6)
    display.phase("holdout plaza->station", num_runs=3, num_done=0, best=None)
    assert display.best() is None
    assert display.num_over() == 0
