"""The final comparison is fair: same budget, one difference, and a test that is looked at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from daam.config.load import flat, read_preset, run_config, setting, with_settings
from daam.config.schema import RunConfig
from daam.errors import StudyInterruptedError
from daam.runs.run_folder import SCORES
from daam.storage import Store, open_store
from tests.support.studies import some_scores
from tune.contenders.final import (
    DEFAULT,
    SOURCE_ONLY,
    TUNED,
    Contender,
    are_tested,
    contender_configs,
    is_tested,
    prepare,
    read_contenders,
    run_contenders,
    run_folder,
    runs_of,
)
from tune.progress import StudyProgress
from tune.settings import StudyConfig, study_config

WEIGHT = "loss.domain_similarity.weight"


@pytest.fixture
def config() -> StudyConfig:
    return study_config(
        {
            "study": {
                "search_transfers": ["plaza->campus", "campus->plaza"],
                "holdout": "plaza->station",
            },
            "search": {WEIGHT: {"low": 0.5, "high": 50.0}},
            "optimiser": {"num_epochs": 3, "warmup_epochs": 1},
        },
        {},
    )


@pytest.fixture
def better(config: StudyConfig) -> RunConfig:
    """Settings that a search has found."""
    return with_settings(config.run, {WEIGHT: 12.5})


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "study"))


def differences(one: Any, other: Any) -> dict[str, Any]:
    """The settings of `one` that `other` has otherwise."""
    first, second = flat(one.model_dump()), flat(other.model_dump())
    return {path: value for path, value in first.items() if second[path] != value}


def test_source_only_differs_from_the_default_by_its_preset_alone(config: StudyConfig) -> None:
    contenders = contender_configs(config, config.run)
    default = contenders[DEFAULT]
    assert differences(contenders[SOURCE_ONLY], default) == {
        path: value
        for path, value in flat(read_preset("source_only")).items()
        if setting(default, path) != value
    }


def test_any_preset_has_a_source_only_contender(config: StudyConfig) -> None:
    run = run_config(read_preset("strong"), config.run.model_dump(include={"optimiser"}))
    source_only = contender_configs(config.model_copy(update={"run": run}), run)[SOURCE_ONLY]
    assert not source_only.loss.uses_target
    assert (source_only.model.norm, source_only.model.pooling) == ("shared", "gem")


def test_tuned_differs_from_the_default_by_what_was_searched_alone(config: StudyConfig) -> None:
    contenders = contender_configs(config, with_settings(config.run, {WEIGHT: 12.5}))
    assert differences(contenders[TUNED], contenders[DEFAULT]) == {WEIGHT: 12.5}


def test_all_train_on_the_whole_holdout_with_the_same_budget(config: StudyConfig) -> None:
    for contender in contender_configs(config, config.run).values():
        assert contender.transfer == "plaza->station"
        assert not contender.evaluation.hold_out
        assert contender.optimiser == config.run.optimiser


def all_tested(config: StudyConfig, best: RunConfig, folder: Store) -> None:
    """Put scores into the folder of every run, as if it had been trained; each has a mark."""
    runs = runs_of(contender_configs(config, best), config.seeds(config.study.contender_seeds))
    for mark, (name, run) in enumerate(runs.items()):
        prepare(run_folder(folder, name), run)
        run_folder(folder, name).write(
            SCORES, json.dumps(some_scores(0.5) | {"mark": mark}).encode()
        )


def marks(contenders: list[Contender]) -> dict[str, list[int]]:
    return {side.name: [row["mark"] for row in side.scores.values()] for side in contenders}


def test_runs_that_were_tested_are_only_read(
    config: StudyConfig, better: RunConfig, folder: Store, tmp_path: Path
) -> None:
    all_tested(config, better, folder)
    watch = StudyProgress()
    # No Ray is connected: a contender that ran would fail.
    found = run_contenders(config, better, folder, scratch=tmp_path / "scratch", watch=watch)
    assert marks(found) == {SOURCE_ONLY: [0, 1, 2], DEFAULT: [3, 4, 5], TUNED: [6, 7, 8]}
    assert [list(side.scores) for side in found] == [[1, 2, 3]] * 3
    assert (watch.title, watch.num_runs) == ("comparison on plaza->station", 9)
    assert watch.num_done_before == 9
    assert not watch.runs


def test_runs_side_by_side_have_different_seeds(config: StudyConfig, better: RunConfig) -> None:
    runs = runs_of(contender_configs(config, better), [7, 8, 9])
    assert list(runs)[:4] == [
        *(f"{SOURCE_ONLY}/seed-{seed}" for seed in (7, 8, 9)),
        f"{DEFAULT}/seed-7",
    ]
    assert [run.seed for run in runs.values()] == [7, 8, 9] * 3


def test_default_settings_that_no_trial_beat_are_trained_once(
    config: StudyConfig, folder: Store, tmp_path: Path
) -> None:
    all_tested(config, config.run, folder)
    assert not folder.child("holdout/tuned").list()
    found = run_contenders(config, config.run, folder, scratch=tmp_path, watch=StudyProgress())
    assert marks(found) == {SOURCE_ONLY: [0, 1, 2], DEFAULT: [3, 4, 5], TUNED: [3, 4, 5]}
    assert [side.same_as for side in found] == [None, None, DEFAULT]


def test_scores_of_other_settings_are_not_taken_for_these(
    config: StudyConfig, better: RunConfig, folder: Store
) -> None:
    all_tested(config, better, folder)
    assert are_tested(config, better, folder)
    another = with_settings(config.run, {WEIGHT: 3.0})
    assert not are_tested(config, another, folder)
    name = f"{TUNED}/seed-1"
    run = runs_of(contender_configs(config, another), [1])[name]
    prepare(run_folder(folder, name), run)
    assert run_folder(folder, name).list() == ["config.toml"]
    default = runs_of(contender_configs(config, another), [1])[f"{DEFAULT}/seed-1"]
    assert is_tested(run_folder(folder, f"{DEFAULT}/seed-1"), default)


def test_a_run_that_was_interrupted_keeps_its_folder(config: StudyConfig, folder: Store) -> None:
    run = contender_configs(config, config.run)[DEFAULT]
    prepare(folder, run)
    folder.write("checkpoints/latest.json", b"{}")
    prepare(folder, run)
    assert folder.exists("checkpoints/latest.json")
    assert not is_tested(folder, run)


def test_a_comparison_without_all_scores_was_stopped(
    config: StudyConfig, better: RunConfig, folder: Store
) -> None:
    all_tested(config, better, folder)
    folder.delete(f"holdout/{TUNED}/seed-2/{SCORES}")
    with pytest.raises(StudyInterruptedError, match=f"--resume {folder.uri}"):
        read_contenders(config, better, folder)


def test_seeds_follow_that_of_the_run_and_begin_again_after_the_last(config: StudyConfig) -> None:
    last = config.model_copy(update={"run": with_settings(config.run, {"seed": 2**32 - 1})})
    assert last.seeds(3) == [2**32 - 1, 0, 1]


def test_a_study_without_a_final_transfer_has_no_contenders(
    config: StudyConfig, folder: Store, tmp_path: Path
) -> None:
    study = config.study.model_copy(update={"holdout": ""})
    config = config.model_copy(update={"study": study})
    assert run_contenders(config, config.run, folder, scratch=tmp_path, watch=StudyProgress()) == []
    assert are_tested(config, config.run, folder)
