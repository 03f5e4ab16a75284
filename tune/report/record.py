"""What a study's report is made of, at any moment of the study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial

from daam.commit import GitCommit
from daam.config.load import with_settings
from daam.config.schema import RunConfig
from tune.contenders.final import Contender
from tune.contenders.racing import Race
from tune.progress import StudyProgress
from tune.report.trials import best_of
from tune.settings import LABEL_FREE, StudyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A study as far as it has come.

    Attributes:
        config: its settings.
        uri: its folder.
        trials: in the order of their numbers.
        race: between the best trials; None if there was none, or before its end.
        contenders: of the final comparison; empty before all have been tested.
        baseline: scores of the colour histogram on the holdout, named as in a contender's `scores`.
        epochs: the metrics of every epoch of a run, by the run's folder below the study's.
        seconds: duration of each phase.
        versions: of the libraries.
        commit: of the code; None if unknown.
        progress: of the phase that is running; None if nothing is.
        stopped: why the study ended before its end, and how to resume it; empty if it did not.
        events: what happened to runs, hosts and the driver, oldest first, see `tune.events.Event`.
        lines: the newest lines of the progress; empty once the study is over.
    """

    config: StudyConfig
    uri: str
    trials: Sequence[FrozenTrial]
    race: Race | None = None
    contenders: Sequence[Contender] = ()
    baseline: Mapping[str, Any] | None = None
    epochs: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: GitCommit | None = None
    progress: StudyProgress | None = None
    stopped: str = ""
    events: Sequence[Mapping[str, Any]] = ()
    lines: Sequence[str] = ()

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, so that the folder holds all results."""
        return self.progress is None and not self.stopped

    @property
    def score_name(self) -> str:
        """What the score of a trial is."""
        is_blind = self.config.study.score == LABEL_FREE
        return "label-free score" if is_blind else "validation mAP"

    @property
    def best(self) -> FrozenTrial | None:
        """The winner of the race, or the complete trial with the best score so far."""
        return best_of(self.trials) if self.race is None else self.trials[self.race.winner]

    @property
    def best_config(self) -> RunConfig | None:
        """The settings of the best trial."""
        best = self.best
        return None if best is None else with_settings(self.config.run, best.params)
