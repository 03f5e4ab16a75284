"""The report while a study runs, when it is stopped, and when nothing came of it."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from daam.config.load import setting
from daam.errors import StorageError
from daam.storage import Store, open_store
from tests.support.studies import a_study
from tune.events import FAILURE
from tune.folder.folder import open_study
from tune.progress import StudyProgress
from tune.report.live import LiveReport
from tune.settings import StudyConfig


class Running:
    """A study that runs in memory, with its folder and its live report."""

    def __init__(self, tmp_path: Path, *, uri: str) -> None:
        self.config: StudyConfig = a_study()
        self.folder: Store = open_store(uri)
        (tmp_path / "scratch").mkdir()
        self.study, self.publish = open_study(
            self.folder, self.config, scratch=tmp_path / "scratch"
        )
        self.watch = StudyProgress()
        self.now = 0.0
        self.report = LiveReport(self.config, self.folder, watch=self.watch, clock=lambda: self.now)

    def page(self) -> str:
        return self.folder.read("report.html").decode()

    def text(self) -> str:
        return re.sub(r"<[^>]+>", "", self.page().partition("<body>")[2])

    def add(self, state: TrialState, **values: Any) -> None:
        """Add a trial that has ended."""
        defaults = {path: setting(self.config.run, path) for path in self.config.search}
        self.study.add_trial(
            create_trial(
                state=state, params=defaults, distributions=self.config.distributions(), **values
            )
        )
        self.publish()


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path, uri=str(tmp_path / "demo"))


def test_a_study_has_a_page_before_its_first_trial(running: Running) -> None:
    running.report.phase("search", num_runs=12, num_done=0, best=None)
    assert "Running, search: 0 of 12 over." in running.text()
    assert '<meta http-equiv="refresh" content="5">' in running.page()


def test_the_page_says_what_is_over_what_is_running_and_how_long_is_left(running: Running) -> None:
    running.report.phase("search", num_runs=4, num_done=0, best=None)
    running.add(TrialState.COMPLETE, value=0.4321, intermediate_values={1: 0.4321})
    running.report.study.began -= 60
    running.now = 10
    running.report.ended("trial-0000", state="COMPLETE", score=0.4321)
    running.now = 20
    running.report.progress("trial-0001", epoch=3, num_epochs=6, score=0.25)
    text = running.text()
    assert re.search(r"1 of 4 over, about 1 min 4\d s left. In progress: trial-0001", text)
    assert "trial-0001 (epoch 3 of 6)" in text
    assert "43.2\u202f%" in text


def test_the_curve_of_a_running_trial_is_up_to_date(running: Running) -> None:
    running.report.phase("search", num_runs=4, num_done=0, best=None)
    running.study.ask(running.config.distributions())
    running.publish()
    for epoch in (1, 2):
        running.now += 10
        running.report.progress("trial-0000", epoch=epoch, num_epochs=6, score=0.1 * epoch)
    assert "trial 0, running, epoch 2: 20.0\u202f%" in running.page()
    assert re.search(
        r"trial 0, running: \d+ s", running.page()
    )  # of the chart of when the trials ran
    running.study.tell(0, 0.3)
    running.publish()
    running.now += 10
    running.report.ended("trial-0000", state="COMPLETE", score=0.3)
    assert "trial 0, running" not in running.page()


def test_every_event_is_forwarded(running: Running) -> None:
    running.report.phase("search", num_runs=4, num_done=1, best=0.3)
    running.report.progress("a", epoch=1, num_epochs=6, score=0.25)
    running.report.ended("a", state="COMPLETE", score=0.5)
    assert (running.watch.num_over(), running.watch.best()) == (2, 0.5)


def test_events_in_quick_succession_write_once(running: Running) -> None:
    running.report.phase("search", num_runs=4, num_done=0, best=None)
    first = running.page()
    for epoch in (1, 2):
        running.now += 1
        running.report.progress("trial-0000", epoch=epoch, num_epochs=6, score=0.1)
    assert running.page() == first
    running.now += 2
    running.report.progress("trial-0000", epoch=3, num_epochs=6, score=0.1)
    assert "epoch 3 of 6" in running.text()


def test_a_slow_folder_is_written_to_at_most_a_fiftieth_of_the_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []

    def slow_write(key: str, data: bytes) -> None:
        running.now += 2
        writes.append(running.now)

    monkeypatch.setattr(running.folder, "write", slow_write)
    running.report.phase("search", num_runs=4, num_done=0, best=None)
    while running.now < 1000:
        running.now += 0.5
        running.report.progress("trial-0000", epoch=1, num_epochs=6, score=0.1)
    assert 2 * len(writes) <= 0.02 * 1000 + 3 * 2  # the last page, with events and sessions
    assert len(writes) > 5


def test_a_folder_that_cannot_be_written_to_stops_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(key: str, data: bytes) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(running.folder, "write", refused)
    with caplog.at_level(logging.WARNING):
        running.report.phase("search", num_runs=4, num_done=0, best=None)
    assert "the report is not up to date: the disk is full" in caplog.text


def test_the_page_of_a_stopped_study_says_how_to_resume_and_rests(running: Running) -> None:
    running.report.phase("search", num_runs=4, num_done=0, best=None)
    running.report.stopped("the study was stopped; resume with: daam tune --resume runs/demo")
    assert "The study was stopped; resume with: daam tune --resume runs/demo." in running.text()
    assert 'http-equiv="refresh"' not in running.page()
    assert "Running" not in running.text()


def test_a_study_of_failed_trials_has_a_page_with_their_reasons(running: Running) -> None:
    for _ in range(2):
        running.add(TrialState.FAIL, user_attrs={FAILURE: "loss/target is nan in epoch 2"})
    running.report.stopped("no trial finished")
    text = running.text()
    assert "Every trial failed, so there is no best one" in text
    assert text.count("loss/target is nan in epoch 2") == 2
    assert "Best settings" not in text


def test_a_study_of_pruned_and_failed_trials_says_so(running: Running) -> None:
    running.add(TrialState.FAIL)
    running.add(TrialState.PRUNED, intermediate_values={1: 0.2}, value=0.2)
    running.report.stopped("no trial finished")
    assert "No trial is complete: all were pruned or failed" in running.text()
    assert "its process died" in running.text()


def test_a_page_that_is_not_renewed_says_so_in_the_browser(running: Running) -> None:
    running.report.phase("search", num_runs=4, num_done=0, best=None)
    assert "its driver may have been stopped" in running.page()


def test_a_study_on_s3_has_its_page_there(tmp_path: Path, s3_uri: str) -> None:
    running = Running(tmp_path, uri=s3_uri)
    running.report.phase("search", num_runs=4, num_done=0, best=None)
    running.add(TrialState.COMPLETE, value=0.4321, intermediate_values={1: 0.4321})
    running.now += 10
    running.report.ended("trial-0000", state="COMPLETE", score=0.4321)
    assert "1 of 4 over" in running.text()
    assert "43.2\u202f%" in running.text()
