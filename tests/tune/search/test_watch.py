"""Ray Tune's events reach whoever watches a study, in the study's own words."""

from types import SimpleNamespace
from typing import Any

from tune.search.launching import EPOCH, FAILURE, LAST_EPOCH, SCORE
from tune.search.watch import WatchCallback


class Seen:
    """A watch that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def phase(
        self,
        title: str,
        *,
        num_runs: int,
        num_done: int,
        best: float | None,
        budget_s: float | None = None,
    ) -> None:
        self.events.append((title, num_runs, num_done))

    def progress(self, name: str, *, epoch: int, num_epochs: int, score: float | None) -> None:
        self.events.append((name, epoch, num_epochs, score))

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        self.events.append((name, state, score, reason))


def told(watch: Seen, *, state: str, reason: str = "") -> WatchCallback:
    return WatchCallback(
        watch,
        name_of=lambda trial: trial.name,
        state_of=lambda _: state,
        reason_of=lambda _: reason,
    )


def a_trial(result: dict[str, Any] | None) -> Any:
    return SimpleNamespace(name="trial-0003", last_result=result)


def test_an_epoch_and_an_end_are_told() -> None:
    watch = Seen()
    callback = told(watch, state="COMPLETE")
    result = {EPOCH: 2, LAST_EPOCH: 2, SCORE: 0.5}
    callback.on_trial_result(1, [], a_trial(result), result)
    callback.on_trial_complete(1, [], a_trial(result))
    assert watch.events == [("trial-0003", 2, 2, 0.5), ("trial-0003", "COMPLETE", 0.5, "")]


def test_a_failure_has_no_score() -> None:
    watch = Seen()
    why = "the loss became nan"
    callback = told(watch, state="FAIL", reason=why)
    result = {EPOCH: 0, LAST_EPOCH: 2, SCORE: 0.0, FAILURE: why}
    callback.on_trial_result(1, [], a_trial(result), result)
    callback.on_trial_complete(1, [], a_trial(result))
    callback.on_trial_error(1, [], a_trial(None))
    assert watch.events == [("trial-0003", "FAIL", None, why)] * 2


def test_a_contender_reports_epochs_without_a_score() -> None:
    watch = Seen()
    result = {EPOCH: 1, LAST_EPOCH: 2}
    told(watch, state="COMPLETE").on_trial_result(1, [], a_trial(result), result)
    assert watch.events == [("trial-0003", 1, 2, None)]
