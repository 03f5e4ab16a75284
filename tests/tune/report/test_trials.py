"""Why trials ended, and which is the best."""

from datetime import datetime, timedelta

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from tune.launching import FAILURE
from tune.report.trials import best_of, ranked, short_names, why_ended

START = datetime(2025, 3, 4, 10)


def a_trial(
    number: int, curve: list[float], *, state: TrialState, end_s: int = 60, failure: str = ""
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=curve[-1] if state == TrialState.COMPLETE else None,
        datetime_start=START,
        datetime_complete=START + timedelta(seconds=end_s),
        params={"a": 1.0},
        distributions={"a": FloatDistribution(0, 2)},
        user_attrs={FAILURE: failure} if failure else {},
        system_attrs={},
        intermediate_values=dict(enumerate(curve, start=1)),
    )


COMPLETE = [
    a_trial(number, [start, start + 0.2], state=TrialState.COMPLETE, end_s=10 * number)
    for number, start in enumerate((0.2, 0.3, 0.4, 0.9))
]


def test_a_pruned_trial_names_the_median_it_fell_behind() -> None:
    pruned = a_trial(4, [0.25], state=TrialState.PRUNED, end_s=25)  # the fourth ended later
    assert why_ended(pruned, [*COMPLETE, pruned]) == (
        "at epoch 1 its best score was 25.0\u202f%, below 30.0\u202f%, the median of the 3 "
        "complete trials"
    )


def test_a_trial_that_another_pruner_stopped_names_no_median() -> None:
    pruned = a_trial(4, [0.1, 0.8], state=TrialState.PRUNED)
    assert why_ended(pruned, [*COMPLETE, pruned]).startswith("behind the others at epoch 2")
    assert why_ended(pruned, [pruned]).startswith("behind the others at epoch 2")
    assert (
        why_ended(a_trial(5, [], state=TrialState.PRUNED), []) == "stopped before its first score"
    )


def test_a_failed_trial_names_its_reason() -> None:
    failed = a_trial(4, [], state=TrialState.FAIL, failure="loss/target is nan")
    assert why_ended(failed, []) == "loss/target is nan"
    assert why_ended(a_trial(4, [], state=TrialState.FAIL), []) == "its process died"


def test_the_best_comes_first_and_those_without_a_score_last() -> None:
    pruned = a_trial(4, [0.95], state=TrialState.PRUNED)
    trials = [pruned, *COMPLETE]
    assert [trial.number for trial in ranked(trials)] == [3, 2, 1, 0, 4]
    best = best_of(trials)
    assert best is not None
    assert best.number == 3
    assert best_of([pruned]) is None


def test_short_names_keep_paths_apart() -> None:
    assert short_names(["loss.target.weight", "optimiser.learning_rate", "seed"]) == {
        "loss.target.weight": "target.weight",
        "optimiser.learning_rate": "optimiser.learning_rate",
        "seed": "seed",
    }
    assert short_names(["a.x.weight", "b.x.weight"]) == {
        "a.x.weight": "a.x.weight",
        "b.x.weight": "b.x.weight",
    }
