"""A study that goes on with other settings keeps the trials that fit, and says which do not."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from daam.errors import StudyError
from daam.storage.local import LocalStore
from tune.events import FAILURE
from tune.folder.folder import (
    JOURNAL,
    SETTINGS,
    open_study,
    read_folder,
    stored_study,
    write_settings,
)
from tune.folder.resuming import adopt
from tune.search.searcher import SET_ASIDE, num_finished
from tune.settings import StudyConfig, study_config
from tune.study import enqueue_starts, is_search_over

RATE, WEIGHT = "optimiser.learning_rate", "loss.domain_similarity.weight"
KIND = "loss.domain_similarity.embedding"


def study_of(**changes: Any) -> StudyConfig:
    tree = {
        "study": {
            "name": "small",
            "search_transfers": ["plaza->campus", "campus->plaza"],
            "holdout": "plaza->station",
            "num_trials": 4,
        },
        "search": {RATE: {"low": 1e-3, "high": 1e-2, "log": True}},
        "optimiser": {"learning_rate": 2e-3},
    }
    return study_config(tree, changes)


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    """A study with a trial in each state: complete, pruned, failed, interrupted."""
    folder, scratch = LocalStore(tmp_path / "study"), tmp_path / "first"
    scratch.mkdir()
    config = study_of()
    study, publish = open_study(folder, config, scratch=scratch)
    enqueue_starts(config, study)
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, None):
        trial = study.ask(config.distributions())
        if state == TrialState.FAIL:
            trial.set_user_attr(FAILURE, "the loss became nan")
        else:
            trial.report(0.5, 1)
            scores = {"plaza->campus": 0.6, "campus->plaza": 0.4}
            trial.set_user_attr("scores", scores if state == TrialState.COMPLETE else {})
        if state is not None:
            study.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state=state)
    publish()
    return folder


def trials_of(folder: LocalStore, scratch: Path) -> list[FrozenTrial]:
    scratch.mkdir()
    study = stored_study(folder, scratch)
    assert study is not None
    return study.get_trials()


def states_of(folder: LocalStore, scratch: Path) -> list[str]:
    return [
        "set aside" if SET_ASIDE in trial.user_attrs else trial.state.name
        for trial in trials_of(folder, scratch)
    ]


ALL_KEPT = ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]


def test_the_same_settings_change_nothing(folder: LocalStore) -> None:
    before = {key: folder.read(key) for key in folder.list()}
    assert adopt(folder, study_of()) == []
    assert {key: folder.read(key) for key in folder.list()} == before


@pytest.mark.parametrize(
    "changes",
    [
        {"study.num_trials": 40},
        {"study.budget": "2h"},
        {"study.name": "other"},
        {"study.holdout": "campus->station"},
        {f"search.{RATE}": {"low": 1e-5, "high": 0.1, "log": True}},
        {f"search.{WEIGHT}": {"low": 0.0, "high": 50.0}},
        {"data.num_threads": 3},
        {"data.root": "/elsewhere"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_trials_that_the_changed_study_would_train_the_same_are_kept(
    folder: LocalStore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    before = trials_of(folder, tmp_path / "before")
    config = study_of(**changes)
    assert adopt(folder, config) == []
    after = trials_of(folder, tmp_path / "after")
    assert [trial.state.name for trial in after] == ALL_KEPT
    for one, other in zip(before, after, strict=True):
        assert one.params[RATE] == other.params[RATE]
        assert (one.datetime_start, one.datetime_complete) == (
            other.datetime_start,
            other.datetime_complete,
        )
        assert one.values == other.values
        assert one.intermediate_values == other.intermediate_values
    again, tree = read_folder(folder.uri)
    assert study_config(tree, {}) == config
    assert adopt(again, config) == []
    (tmp_path / "open").mkdir()
    study, _ = open_study(again, config, scratch=tmp_path / "open")
    assert num_finished(study) == 3
    assert not is_search_over(config, study)
    study.ask(config.distributions())  # Optuna accepts the old trials beside the new space


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimiser.num_epochs": 70}, "optimiser.num_epochs was"),
        ({"seed": 3}, "seed was"),
        ({"study.score": "label_free"}, "study.score was 'validation'"),
    ],
)
def test_trials_of_other_settings_are_set_aside_with_the_reason(
    folder: LocalStore, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    config = study_of(**changes)
    (line,) = adopt(folder, config)
    assert line.startswith(f"Set aside: trials 0, 1, 2, 3: {reason}")
    trials = trials_of(folder, tmp_path / "after")
    assert {trial.state for trial in trials} == {TrialState.FAIL}
    assert all(trial.user_attrs[FAILURE].startswith("set aside: ") for trial in trials)
    (tmp_path / "open").mkdir()
    study, _ = open_study(folder, config, scratch=tmp_path / "open")
    assert num_finished(study) == 0
    enqueue_starts(config, study)
    assert study.ask(config.distributions()).number == 4  # folders are named by it
    assert study.get_trials()[4].params == {RATE: 2e-3}
    assert "journal-1.log" in folder.list()


def test_a_narrower_range_sets_aside_what_lies_outside(folder: LocalStore, tmp_path: Path) -> None:
    rates = [trial.params[RATE] for trial in trials_of(folder, tmp_path / "before")]
    low, high = min(rates) * 0.99, sorted(rates)[1] * 1.01
    space = {"low": low, "high": high, "log": True}
    changed = {f"search.{RATE}": space, "study.default_first": False}
    lines = adopt(folder, study_of(**changed))
    assert len(lines) == 2
    outside = [number for number, rate in enumerate(rates) if rate > high]
    for number, line in zip(outside, lines, strict=True):
        assert line.startswith(f"Set aside: trial {number}: {RATE} = {rates[number]!r} is not")
    kept = [
        number
        for number, state in enumerate(states_of(folder, tmp_path / "after"))
        if state != "set aside"
    ]
    assert kept == [number for number, rate in enumerate(rates) if rate <= high]


def test_a_setting_that_is_fixed_keeps_the_trials_that_had_this_value(
    folder: LocalStore, tmp_path: Path
) -> None:
    changed = {f"search.{WEIGHT}": {"low": 0.0, "high": 50.0}, RATE: 2e-3}
    adopt(folder, study_of(**changed))
    after = trials_of(folder, tmp_path / "after")
    assert [SET_ASIDE in trial.user_attrs for trial in after] == [False, True, True, True]
    assert list(after[0].params) == [WEIGHT]


def test_other_directions_keep_the_complete_trials_that_were_scored_on_them(
    folder: LocalStore, tmp_path: Path
) -> None:
    (line,) = adopt(folder, study_of(**{"study.search_transfers": ["campus->plaza"]}))
    assert line == "Set aside: trials 1, 3: not complete, and scored otherwise"
    after = trials_of(folder, tmp_path / "after")
    assert after[0].value == 0.4
    assert after[0].intermediate_values == {}


def test_a_further_direction_keeps_no_scored_trial(folder: LocalStore, tmp_path: Path) -> None:
    transfers = ["plaza->campus", "campus->plaza", "road->plaza"]
    assert adopt(folder, study_of(**{"study.search_transfers": transfers})) == [
        "Set aside: trial 0: not scored on road->plaza",
        "Set aside: trials 1, 3: not complete, and scored otherwise",
    ]
    assert states_of(folder, tmp_path / "after")[2] == "FAIL"


def test_another_aggregate_scores_complete_trials_anew(folder: LocalStore, tmp_path: Path) -> None:
    adopt(folder, study_of(**{"study.aggregate": "worst"}))
    assert trials_of(folder, tmp_path / "after")[0].value == 0.4


def test_an_edited_study_file_that_a_killed_process_left_half_adopted_is_adopted(
    folder: LocalStore, tmp_path: Path
) -> None:
    config = study_of(**{"optimiser.num_epochs": 70})
    write_settings(folder, config)  # the journal still has the old settings
    assert len(adopt(folder, config)) == 1
    assert states_of(folder, tmp_path / "after") == ["set aside"] * 4


def test_a_journal_without_its_settings_is_refused(folder: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    study = stored_study(folder, tmp_path / "scratch")
    assert study is not None
    study.set_user_attr(SETTINGS, "{}")
    folder.upload(tmp_path / "scratch" / JOURNAL, JOURNAL)
    with pytest.raises(StudyError, match="written by another version of daam"):
        adopt(folder, study_of())
