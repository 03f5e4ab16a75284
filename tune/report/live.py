"""The report of a study that is still running, written again and again."""

import logging
import os
import socket
import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from daam.errors import FencedError, StorageError
from daam.storage import Store
from tune.events import DRIVER, Event
from tune.folder.events import EventLog, Session
from tune.folder.journal import PublishedTrials
from tune.progress import StudyProgress
from tune.report.page import REPORT, report_page
from tune.report.record import StudyRecord
from tune.search.trial import trial_name
from tune.search.watch import StudyWatch
from tune.settings import StudyConfig

WRITTEN_EVERY_S = 3.0
SHARE_OF_TIME = 0.02

logger = logging.getLogger(__name__)


class LiveReport:
    """Renews `report.html` while a study runs, as a `StudyWatch` that forwards to another.

    Writing takes at most a fiftieth of the driver's time: the longer the last write took, the later
    the next one is.

    Args:
        config: of the study.
        folder: of the study.
        watch: receives every event, too.
        clock: in seconds.
    """

    def __init__(
        self,
        config: StudyConfig,
        folder: Store,
        *,
        watch: StudyWatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.watch = watch
        self.folder = folder
        self.clock = clock
        self.trials = PublishedTrials(folder, name=config.study.name)
        self.study = StudyProgress()
        self.record = StudyRecord(config=config, uri=folder.uri, trials=[], progress=self.study)
        self.next_at = 0.0
        self.events = EventLog(folder)
        self.session = Session(folder, clock=clock)
        self.has_begun = False
        self.fenced: FencedError | None = None

    def phase(
        self,
        title: str,
        *,
        num_runs: int,
        num_done: int,
        best: float | None,
        budget_s: float | None = None,
    ) -> None:
        """Forward the beginning of a phase, and write the page."""
        for watch in (self.watch, self.study):
            watch.phase(title, num_runs=num_runs, num_done=num_done, best=best, budget_s=budget_s)
        self.write()

    def progress(
        self, name: str, *, epoch: int, num_epochs: int, score: float | None, note: str = ""
    ) -> None:
        """Forward an epoch of a run, and write the page if its time has come."""
        for watch in (self.watch, self.study):
            watch.progress(name, epoch=epoch, num_epochs=num_epochs, score=score, note=note)
        self.begin()
        self.write_in_turn()

    def event(self, event: Event) -> None:
        """Forward an event, and keep it for the folder."""
        for watch in (self.watch, self.study):
            watch.event(event)
        self.begin()
        self.events.add(event)

    def step(self) -> None:
        """Write the page if there are new events and its time has come.

        Raises:
            FencedError: another driver has taken over the study.
        """
        if self.fenced is not None:
            raise self.fenced
        if self.events.has_news:
            self.write_in_turn()

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        """Forward the end of a run, and write the page if its time has come."""
        self.watch.ended(name, state=state, score=score, reason=reason)
        self.study.ended(name, state=state, score=score, reason=reason)
        self.begin()
        self.write_in_turn()

    def begin(self) -> None:
        """Begin a session, now that there is work: only to write a report again is none."""
        if not self.has_begun:
            self.has_begun = True
            self.note(f"driver started on {socket.gethostname()}, process {os.getpid()}")

    def note(self, text: str) -> None:
        """Add what happens to this process to the events."""
        self.events.add(Event(kind=DRIVER, text=text, host=socket.gethostname()))

    def stopped(self, reason: str) -> None:
        """Write the page of a study that was stopped: it no longer reloads itself."""
        self.note(reason)
        self.record = replace(self.record, progress=None, stopped=reason)
        self.write()

    def write_in_turn(self) -> None:
        """Write the page, unless the last time is too recent."""
        if self.clock() >= self.next_at:
            self.write()

    def write(self) -> None:
        """Write the page; a folder that cannot be written to fails nothing."""
        begin = self.clock()
        try:
            trials = [self.with_latest_scores(trial) for trial in self.trials.read()]
            self.record = replace(
                self.record, trials=trials, events=self.events.all(), lines=list(self.study.lines)
            )
            self.folder.write(REPORT, report_page(self.record).encode())
            self.store_history()
        except FencedError as error:
            self.fenced = error  # raised where Ray Tune does not take it for the error of a trial
        except StorageError as error:
            logger.warning("the report is not up to date: %s", error)
        took = self.clock() - begin
        self.next_at = self.clock() + max(WRITTEN_EVERY_S, took / SHARE_OF_TIME)

    def store_history(self) -> None:
        """Store the events, and how long this process has run.

        Raises:
            StorageError: the folder cannot be written to.
        """
        if self.has_begun:
            self.session.store()
            self.events.publish()

    def with_latest_scores(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial with the scores since the journal was published, if it is running."""
        run = self.study.runs.get(trial_name(trial.number))
        if run is None or trial.state != TrialState.RUNNING:
            return trial
        trial = copy(trial)
        trial.intermediate_values = trial.intermediate_values | run.score_by_epoch
        return trial
