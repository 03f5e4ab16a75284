"""How much each setting explains, and how sure that is."""

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tune.report.importances import importances

SPACE: dict[str, BaseDistribution] = {
    path: FloatDistribution(0.0, 1.0) for path in ("a.matters", "b.does_not")
}


def trials(count: int, *, noise: float = 0.0) -> list[FrozenTrial]:
    """Complete trials whose score is that of one parameter."""
    generator = np.random.default_rng(7)
    found = []
    for _ in range(count):
        params = {path: float(generator.random()) for path in SPACE}
        score = params["a.matters"] + float(generator.normal(0, noise))
        found.append(create_trial(params=params, distributions=SPACE, value=score))
    return found


def test_the_setting_that_the_score_hangs_on_comes_first() -> None:
    found = {importance.path: importance for importance in importances(trials(24), SPACE)}
    assert found["a.matters"].mean > 0.8
    assert found["a.matters"].low > found["b.does_not"].high
    for importance in found.values():
        assert 0 <= importance.low <= importance.mean <= importance.high <= 1


def test_few_noisy_trials_leave_it_open() -> None:
    few = {found.path: found for found in importances(trials(6, noise=0.3), SPACE)}
    assert few["a.matters"].high - few["a.matters"].low > 0.3


def test_the_answer_is_the_same_each_time() -> None:
    assert importances(trials(8), SPACE) == importances(trials(8), SPACE)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_few_trials_have_none(count: int) -> None:
    assert importances(trials(count), SPACE) == []


def test_equal_scores_have_none() -> None:
    equal = trials(4)
    for trial in equal:
        trial.value = 0.5
    assert importances(equal, SPACE) == []


def test_pruned_trials_do_not_count() -> None:
    pruned = [
        create_trial(
            state=TrialState.PRUNED,
            params=dict.fromkeys(SPACE, 0.5),
            distributions=SPACE,
            intermediate_values={1: 0.9},
        )
        for _ in range(3)
    ]
    assert importances([*trials(5), *pruned], SPACE) == importances(trials(5), SPACE)


def test_settings_that_only_some_trials_have_are_left_out() -> None:
    space = SPACE | {"c.sometimes": FloatDistribution(0.0, 1.0)}
    some = [
        create_trial(
            params=trial.params | {"c.sometimes": 0.5}, distributions=space, value=trial.value
        )
        for trial in trials(6)
    ]
    found = importances([*some, *trials(6)], space)
    assert {importance.path for importance in found} == set(SPACE)


def test_trials_of_a_narrower_range_count() -> None:
    wider = SPACE | {"a.matters": FloatDistribution(0.0, 2.0)}
    later = [
        create_trial(params=trial.params | {"a.matters": 1.5}, distributions=wider, value=1.5)
        for trial in trials(6)
    ]
    found = {found.path: found for found in importances([*trials(6), *later], wider)}
    assert found["a.matters"].mean > 0.8
