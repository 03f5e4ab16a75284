"""What a study tells whoever watches it, while it runs."""

from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial

from tune.launching import EPOCH, FAILURE, LAST_EPOCH, SCORE, NotSaved


class StudyWatch(Protocol):
    """Shows how far a study is. Calls come from one thread."""

    def phase(self, title: str, *, num_runs: int, num_done: int, best: float | None) -> None:
        """A new part begins: the search, or the final comparison.

        Args:
            title: of the part.
            num_runs: trials or contenders in all.
            num_done: of them, by earlier processes.
            best: score that those have reached, if any has one.
        """

    def progress(self, name: str, *, epoch: int, num_epochs: int, score: float | None) -> None:
        """A trial or contender has finished an epoch."""

    def ended(self, name: str, *, state: str, score: float | None) -> None:
        """A trial or contender is over."""


class WatchCallback(NotSaved, Callback):
    """Hands Ray Tune's events to a watch.

    Args:
        watch: is told.
        name_of: gives the name of a Ray trial.
        state_of: gives what became of a Ray trial that is over.
    """

    def __init__(self, watch: StudyWatch, *, name_of: Any, state_of: Any) -> None:
        self.watch = watch
        self.name_of = name_of
        self.state_of = state_of

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict, **info: Any
    ) -> None:
        """An epoch is over."""
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
        """A trial has reached its end or was stopped."""
        result = trial.last_result or {}
        score = None if FAILURE in result else result.get(SCORE)
        self.watch.ended(self.name_of(trial), state=self.state_of(trial), score=score)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """A trial has failed for good."""
        self.watch.ended(self.name_of(trial), state="FAILED", score=None)
