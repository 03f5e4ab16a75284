"""The final comparison is fair: same budget, one difference, and a test that is looked at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from daam.config.load import read_preset, run_config, setting, with_settings
from daam.errors import StudyInterruptedError
from daam.runs.run_folder import SCORES
from daam.storage import open_store
from daam.training.state import flat
from tune.holdout import (
    DEFAULT,
    SOURCE_ONLY,
    TUNED,
    contender_configs,
    read_contenders,
    run_holdout,
)
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


class Silent:
    """A watch that only remembers the phases."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int, int]] = []

    def phase(self, title: str, *, num_runs: int, num_done: int, best: float | None) -> None:
        self.phases.append((title, num_runs, num_done))

    def progress(self, name: str, *, epoch: int, num_epochs: int, score: float | None) -> None:
        raise AssertionError(f"{name} was run")

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        raise AssertionError(f"{name} was run")


def test_contenders_that_were_tested_are_only_read(config: StudyConfig, tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "study"))
    for mark, name in enumerate((SOURCE_ONLY, DEFAULT, TUNED)):
        folder.write(f"holdout/{name}/{SCORES}", json.dumps({"mark": mark}).encode())
    watch = Silent()
    # No Ray is connected: a contender that ran would fail.
    found = run_holdout(config, config.run, folder, scratch=tmp_path / "scratch", watch=watch)
    assert [(contender.name, contender.scores["mark"]) for contender in found] == [
        (SOURCE_ONLY, 0),
        (DEFAULT, 1),
        (TUNED, 2),
    ]
    assert watch.phases == [("holdout plaza->station", 3, 3)]


def test_a_comparison_without_all_scores_was_stopped(config: StudyConfig, tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "study"))
    contenders = contender_configs(config, config.run)
    folder.write(f"holdout/{TUNED}/{SCORES}", b"{}")
    with pytest.raises(StudyInterruptedError, match=f"--resume {folder.uri}"):
        read_contenders(contenders, folder)
