"""What a study says of itself while it runs."""

import io
import re

import pytest
from rich.console import Console

from daam.commands.terminal.study_display import StudyDisplay


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


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
