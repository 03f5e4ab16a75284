"""Progress events of a running study."""

from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial

from tune.search.launching import EPOCH, FAILURE, LAST_EPOCH, SCORE, NotSaved


class StudyWatch(Protocol):
    """Receives the progress of a study. All calls come from one thread."""

    def phase(
        self,
        title: str,
        *,
        num_runs: int,
        num_done: int,
        best: float | None,
        budget_s: float | None = None,
    ) -> None:
        """The search or the final comparison begins.

        Args:
            title: of the phase.
            num_runs: total number of trials or contenders; 0 if there is no limit but the time.
            num_done: how many of them earlier processes finished.
            best: best score so far, if there is one.
            budget_s: time after which no further one begins, if there is such a limit.
        """

    def progress(self, name: str, *, epoch: int, num_epochs: int, score: float | None) -> None:
        """A trial or contender has finished an epoch."""

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        """A trial or contender has ended, or was interrupted and will be resumed.

        Args:
            name: of the trial or contender.
            state: COMPLETE, PRUNED, FAIL or INTERRUPTED.
            score: its last score, if it has one.
            reason: why it failed or was interrupted; empty if it did not.
        """


class WatchCallback(NotSaved, Callback):
    """Forwards Ray Tune's events to a watch.

    Args:
        watch: receives them.
        name_of: maps a Ray trial to its name.
        state_of: maps a Ray trial that has ended to its state.
        reason_of: maps a Ray trial that has ended to why it failed; empty if it did not.
    """

    def __init__(self, watch: StudyWatch, *, name_of: Any, state_of: Any, reason_of: Any) -> None:
        self.watch = watch
        self.name_of = name_of
        self.state_of = state_of
        self.reason_of = reason_of

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict, **info: Any
    ) -> None:
        """Forward the end of an epoch."""
        if FAILURE in result:
            return
        self.watch.progress(
            self.name_of(trial),
            epoch=result[EPOCH],
            num_epochs=result[LAST_EPOCH],
            score=result.get(SCORE),
        )

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Forward the end of a trial that finished or was stopped."""
        result = trial.last_result or {}
        score = None if FAILURE in result else result.get(SCORE)
        self.ended(trial, score=score)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Forward a failure that will not be retried."""
        self.ended(trial, score=None)

    def ended(self, trial: RayTrial, *, score: float | None) -> None:
        """Forward the end of a trial with what the study has recorded of it."""
        self.watch.ended(
            self.name_of(trial),
            state=self.state_of(trial),
            score=score,
            reason=self.reason_of(trial),
        )
