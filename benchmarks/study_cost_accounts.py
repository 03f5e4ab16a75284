"""What the trials of a study cost, and the best score found for it: read from a study's folder.

Cost is counted in epochs: a source epoch and an adaptation epoch count as their median seconds over
all studies that are compared, so that it does not depend on what else the machine was doing.
"""

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from daam.runs.stages import REUSED, TRAINED
from tune.folder.folder import JOURNAL
from tune.search.trial import trial_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch of a run.

    Attributes:
        is_adapted: False in the source stage.
        seconds: of training, pseudo-labels and diagnostics, and of its score.
        stage: the epoch of a shared source stage that it is; empty: not shared.
        is_copy: of an epoch that another run has trained.
    """

    is_adapted: bool
    seconds: float
    stage: str = ""
    is_copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Epochs of a trial, and the trial's score after them; None: it has none that counts."""

    epochs: tuple[Epoch, ...]
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Seconds of an epoch of the source stage, and of one of the adaptation with its score."""

    source_s: float
    adaptation_s: float

    def of(self, epoch: Epoch) -> float:
        """What an epoch counts as."""
        return self.adaptation_s if epoch.is_adapted else self.source_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The trials of a study in the order in which they ended.

    Attributes:
        steps: of all trials.
        wall_s: from the start of its process to its end; None: it was resumed.
        idle_s: of these, without any trial; None: not known.
    """

    steps: tuple[Step, ...]
    wall_s: float | None
    idle_s: float | None = None

    def without_sharing(self) -> "Study":
        """The same study, had every run trained its own source stage."""
        steps = (
            replace(step, epochs=tuple(replace(e, stage="", is_copy=False) for e in step.epochs))
            for step in self.steps
        )
        return replace(self, steps=tuple(steps))

    def costs(self, units: Units) -> Iterator[tuple[float, float | None]]:
        """Yield the cost so far after each step, and the step's score.

        An epoch of a shared stage counts once.
        """
        seen: set[str] = set()
        total = 0.0
        for step in self.steps:
            for epoch in step.epochs:
                if epoch.stage not in seen:
                    total += units.of(epoch)
                if epoch.stage:
                    seen.add(epoch.stage)
            yield total, step.score

    def curve(self, units: Units) -> list[tuple[float, float]]:
        """The cost at which the best score so far improved, and that score; then the whole cost."""
        points: list[tuple[float, float]] = []
        total = 0.0
        for total, score in self.costs(units):
            if score is not None and (not points or score > points[-1][1]):
                points.append((total, score))
        return [*points, (total, points[-1][1])]

    def cost_of(self, score: float, units: Units) -> float | None:
        """The cost at which the best score so far reached a score; None: it did not."""
        return next((cost for cost, best in self.curve(units) if best >= score), None)

    @property
    def trained(self) -> list[Epoch]:
        """The epochs that were trained."""
        return [epoch for step in self.steps for epoch in step.epochs if not epoch.is_copy]


def units_of(epochs: Iterable[Epoch]) -> Units:
    """The median seconds of either kind of epoch."""
    epochs = list(epochs)
    source_s, adaptation_s = (
        statistics.median(epoch.seconds for epoch in epochs if epoch.is_adapted == is_adapted)
        for is_adapted in (False, True)
    )
    return Units(source_s=source_s, adaptation_s=adaptation_s)


def read_study(folder: Path, *, wall_s: float | None) -> Study:
    """Read a study of daam: its journal, and its runs' reports.

    Only a trial that was trained to its end has a score that counts.
    """
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    ended = sorted(
        (end, trial.number, begin, trial)
        for trial in trials
        if (begin := trial.datetime_start) and (end := trial.datetime_complete)
    )
    steps = []
    for *_, trial in ended:
        reports = (folder / "trials" / trial_name(trial.number)).glob("*/reports.json")
        rows = [row for path in sorted(reports) for row in json.loads(path.read_text())]
        score = trial.value if trial.state == TrialState.COMPLETE else None
        steps.append(Step(epochs=tuple(map(epoch_of, rows)), score=score))
    idle_s = None
    if wall_s is not None:
        idle_s = wall_s - covered_s((begin, end) for end, _, begin, _ in ended)
    return Study(steps=tuple(steps), wall_s=wall_s, idle_s=idle_s)


def epoch_of(row: dict[str, Any]) -> Epoch:
    """An epoch from a row of a run's reports."""
    key = row.get(TRAINED) or row.get(REUSED)
    return Epoch(
        is_adapted="mAP" in row,
        seconds=row["seconds"] + row.get("seconds/score", 0.0),
        stage=f"{key}/{row['epoch']}" if key else "",
        is_copy=REUSED in row,
    )


def covered_s(intervals: Iterable[tuple[datetime, datetime]]) -> float:
    """The seconds that lie in one interval or more."""
    total, until = timedelta(), datetime.min
    for begin, end in sorted(intervals):
        total += max(end - max(begin, until), timedelta())
        until = max(end, until)
    return total.total_seconds()


def read_plain_study(folder: Path, *, wall_s: float) -> Study:
    """Read a study of `naive_study.py`: each report of a trial is a step.

    Its best trial is by the last score, whether the trial was stopped or not, as in Ray Tune.
    """
    steps = []
    for line in (folder / "epochs.jsonl").read_text().splitlines():
        found = json.loads(line)
        epochs = tuple(
            Epoch(is_adapted=row["is_adapted"], seconds=row["seconds"] + row["seconds/score"])
            for row in found["epochs"]
        )
        steps.append(Step(epochs=epochs, score=found.get("score")))
    return Study(steps=tuple(steps), wall_s=wall_s)
