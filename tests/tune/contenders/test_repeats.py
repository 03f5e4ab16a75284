"""A race is between the best complete trials, is kept, and is run again if these change."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune import Result

from daam.errors import StudyInterruptedError, StudyPausedError
from daam.storage import Store, open_store
from tests.support.studies import a_result, a_study
from tune.contenders.racing import Race, run_race
from tune.contenders.repeats import RACE, Repeats, began_with, race_trials, racers, read_race
from tune.progress import StudyProgress
from tune.search.launching import EPOCH, FAILURE, IS_OUTSIDE, LAST_EPOCH, OF_TRANSFER
from tune.search.trial import trial_config, trial_name
from tune.settings import StudyConfig

COMPLETE, PRUNED = TrialState.COMPLETE, TrialState.PRUNED


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "study"))


def trials_of(config: StudyConfig, num_trials: int) -> list[FrozenTrial]:
    return a_result(config, [COMPLETE] * num_trials).trials


def test_the_best_complete_trials_race_and_the_best_comes_first() -> None:
    config = a_study(race_trials=3)
    trials = a_result(config, [PRUNED, *[COMPLETE] * 5]).trials
    values = {trial.number: trial.values[0] for trial in trials[1:]}
    found = racers(config, trials)
    assert list(found) == sorted(values, key=lambda number: -values[number])[:3]
    for number, scores in found.items():
        assert scores == trials[number].user_attrs["scores"]


def test_a_trial_that_was_scored_on_more_transfers_races_on_those_of_the_study() -> None:
    config = a_study(race_trials=2)
    trials = trials_of(config, 6)
    trials[0].user_attrs["scores"]["campus->station"] = 0.9
    assert all(
        list(scores) == config.study.search_transfers for scores in racers(config, trials).values()
    )


@pytest.mark.parametrize(
    ("num_trials", "settings", "num_racers"),
    [
        (6, {}, 0),  # one in six is one, and no race
        (11, {}, 0),
        (12, {}, 2),
        (20, {}, 3),
        (40, {}, 3),
        (6, {"race_trials": 2}, 2),
        (20, {"race_trials": 1}, 0),
        (20, {"race_trials": 0}, 0),
        (20, {"race_seeds": 1}, 0),
    ],
)
def test_a_study_of_few_trials_has_no_race_unless_it_is_set(
    num_trials: int, settings: dict[str, Any], num_racers: int
) -> None:
    config = a_study(**settings)
    assert len(racers(config, trials_of(config, num_trials))) == num_racers


def stored(config: StudyConfig, trials: list[FrozenTrial], folder: Store) -> Race:
    first = racers(config, trials)
    race = run_race(first, config.seeds(1), repeat=lambda *_: {}, how="mean")
    document = {"began_with": began_with(config, first), "race": asdict(race)}
    folder.write(RACE, json.dumps(document).encode())
    return race


def test_a_race_that_is_over_is_only_read(folder: Store, tmp_path: Path) -> None:
    config = a_study()
    trials = trials_of(config, 20)
    race = stored(config, trials, folder)
    # No Ray is connected: a trial that ran would fail.
    assert race_trials(config, trials, folder, scratch=tmp_path, watch=StudyProgress()) == race


def test_a_race_between_other_trials_or_seeds_does_not_count(folder: Store) -> None:
    config = a_study()
    trials = trials_of(config, 20)
    assert read_race(config, trials, folder) is None
    stored(config, trials, folder)
    assert read_race(config, trials, folder) is not None
    assert read_race(a_study(race_seeds=2), trials, folder) is None
    better = trials_of(config, 21)
    better[20].values, better[20].state = [0.9], COMPLETE
    assert read_race(config, better, folder) is None


def test_a_repeated_trial_differs_by_its_seed_and_its_folder_alone() -> None:
    config = a_study()
    settings = {
        "run": config.run.model_dump(),
        "parameters": {"loss.target.weight": 2.0},
        "score": "validation",
        "num_workers": 1,
    }
    first = trial_config(settings, "plaza->campus")
    again = trial_config(settings | {"seed": 7}, "plaza->campus")
    assert first.seed == config.run.seed
    assert again == first.model_copy(update={"seed": 7})
    assert trial_name(3, seed=7) == "trial-0003-seed-7"


@pytest.fixture
def repeats(folder: Store, tmp_path: Path) -> Repeats:
    return Repeats(
        config=a_study(), folder=folder, parameters={}, scratch=tmp_path, watch=StudyProgress()
    )


def ended(metrics: dict[str, Any], *, error: Exception | None = None) -> Result:
    return Result(metrics=metrics, checkpoint=None, error=error, path="")


def test_a_run_gives_its_scores_or_the_reason_in_its_parameters(repeats: Repeats) -> None:
    scores = {"plaza->campus": 0.5, "campus->plaza": 0.6}
    metrics = {f"{OF_TRANSFER}{transfer}": score for transfer, score in scores.items()}
    assert repeats.scores(ended({EPOCH: 12, LAST_EPOCH: 12, **metrics})) == scores
    failed = {EPOCH: 0, LAST_EPOCH: 12, FAILURE: "not finite", IS_OUTSIDE: False}
    assert repeats.scores(ended(failed)) == "not finite"


def test_a_run_that_was_stopped_interrupts_the_study(repeats: Repeats) -> None:
    with pytest.raises(StudyInterruptedError, match="stopped in its race"):
        repeats.scores(ended({EPOCH: 3, LAST_EPOCH: 12}))
    with pytest.raises(StudyInterruptedError, match="stopped in its race"):
        repeats.scores(ended({}))


def test_a_failure_outside_the_trial_pauses_the_study(repeats: Repeats) -> None:
    failed = {EPOCH: 0, LAST_EPOCH: 12, FAILURE: "no space left", IS_OUTSIDE: True}
    with pytest.raises(StudyPausedError, match="paused in its race: no space left; once that is"):
        repeats.scores(ended(failed))
    with pytest.raises(StudyPausedError, match=r"OSError: .*No space"):
        repeats.scores(ended({}, error=OSError(28, "No space left on device")))
