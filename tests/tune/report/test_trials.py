"""Why trials ended, and which is the best."""

from datetime import datetime, timedelta

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from tests.support.studies import a_study
from tune.events import FAILURE
from tune.proposals.sampling import pruner_for
from tune.report.charts.trials import front_chart
from tune.report.trials import best_of, front_of, ranked, short_names, why_ended

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
    assert why_ended(pruned, [*COMPLETE, pruned], pruner="median") == (
        "at epoch 1 its best score was 25.0\u202f%, below 30.0\u202f%, the median of the 3 "
        "complete trials"
    )


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_the_reason_is_what_optuna_decided_on(pruner: str) -> None:
    config = a_study(pruner=pruner, num_startup_trials=2, num_startup_epochs=1)
    study = optuna.create_study(direction="maximize", pruner=pruner_for(config.study, num_epochs=6))
    for number in range(12):
        trial = study.ask({"a": FloatDistribution(0, 2)})
        for step in range(1, 10):
            trial.report((0.9 - 0.05 * number) * step / 10, step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, 0.9 - 0.05 * number)
    trials = study.get_trials()
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    words = {"median": "the median of the", "asha": "rung", "hyperband": "rung"}[pruner]
    for trial in pruned:
        assert words in why_ended(trial, trials, pruner=pruner)


def test_a_trial_without_a_score_was_stopped_before_it() -> None:
    pruned = a_trial(5, [], state=TrialState.PRUNED)
    assert why_ended(pruned, [], pruner="median") == "stopped before its first score"


def test_a_failed_trial_names_its_reason() -> None:
    failed = a_trial(4, [], state=TrialState.FAIL, failure="loss/target is nan")
    assert why_ended(failed, [], pruner="median") == "loss/target is nan"
    unknown = a_trial(4, [], state=TrialState.FAIL)
    assert why_ended(unknown, [], pruner="median") == "its process died"


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


def test_the_front_holds_what_no_trial_beats_in_both_score_and_seconds() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    outcomes = [(0.5, 90.0), (0.3, 20.0), (0.5, 80.0), (0.2, 20.0), (0.4, 80.0), (0.6, 99.0)]
    study.add_trials([optuna.trial.create_trial(values=values) for values in outcomes])
    study.ask()
    assert [trial.number for trial in front_of(study.trials)] == [1, 2, 5]
    assert {trial.number for trial in study.best_trials} == {1, 2, 5}
    assert front_of(COMPLETE) == []
    chart = front_chart(study.trials, score="validation mAP")
    assert chart.count('class="dot"') == len(outcomes)
    assert front_chart(COMPLETE, score="validation mAP") == ""
