"""What studies cost: counted in epochs, a shared source stage once."""

import json
import tomllib
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from benchmarks.naive_study import ALL_NAIVE, OURS
from benchmarks.study_cost import write_study
from benchmarks.study_cost_accounts import (
    Epoch,
    Step,
    Study,
    Units,
    covered_s,
    read_plain_study,
    read_study,
    units_of,
)
from benchmarks.study_cost_choices import choice_of
from benchmarks.study_cost_tables import (
    ARMS,
    DAAM,
    PARTS,
    RANDOM,
    SEARCH,
    STAGES,
    cost_table,
    draw,
    factor_table,
    shares_at,
)
from daam.runs.stages import REUSED, TRAINED
from tune.folder.journal_file import JOURNAL
from tune.settings import study_config

UNITS = Units(source_s=1.0, adaptation_s=10.0)
NOON = datetime(2026, 1, 1, 12)


def epochs(*, stage: str = "", is_copy: bool = False) -> tuple[Epoch, ...]:
    source = Epoch(is_adapted=False, seconds=2.0, stage=stage, is_copy=is_copy)
    return (source, Epoch(is_adapted=True, seconds=11.0))


def study_of(*scores: float | None, stage: str = "") -> Study:
    steps = (
        Step(epochs=epochs(stage=stage, is_copy=number > 0), score=score)
        for number, score in enumerate(scores)
    )
    return Study(steps=tuple(steps), wall_s=100.0)


def test_a_shared_stage_costs_once() -> None:
    study = study_of(0.3, None, 0.2, 0.5, stage="key/1")
    assert [cost for cost, _ in study.costs(UNITS)] == [11, 21, 31, 41]
    assert study.curve(UNITS) == [(11, 0.3), (41, 0.5), (41, 0.5)]
    assert len(study.trained) == 5


def test_without_sharing_every_run_pays_for_its_stage() -> None:
    study = study_of(0.3, 0.5, stage="key/1").without_sharing()
    assert [cost for cost, _ in study.costs(UNITS)] == [11, 22]
    assert len(study.trained) == 4


def test_a_trial_without_a_score_costs_and_improves_nothing() -> None:
    assert study_of(0.3, None).curve(UNITS) == [(11, 0.3), (22, 0.3)]


def test_the_share_of_a_cost_at_which_a_score_is_reached() -> None:
    studies = [study_of(0.1, 0.5, 0.7), study_of(0.1, 0.2)]
    assert shares_at(studies, [(110, 0.5), (110, 0.5)], UNITS) == [0.2, None]


def test_units_are_medians_by_stage() -> None:
    found = [Epoch(is_adapted=kind, seconds=s) for kind in (False, True) for s in (1.0, 2.0, 9.0)]
    assert units_of(found) == Units(source_s=2.0, adaptation_s=2.0)


def test_factors_multiply_to_the_whole() -> None:
    studies = {
        "random": [study_of(0.2, 0.5)],
        "daam": [study_of(0.5, stage="key/1")],
        "no start": [study_of(0.5)],
        "Ray Tune": [study_of(0.1, 0.2, 0.6)],
    }
    units = {
        "daam": UNITS,
        "naive loader": Units(source_s=2.0, adaptation_s=15.0),
        "all naive": Units(source_s=2.0, adaptation_s=31.0),
    }
    rows = {
        name.strip(): float(factor)
        for _, name, factor, *_ in (
            line.split("|") for line in factor_table(studies, units).splitlines()[2:]
        )
    }
    assert rows["all"] == 9.0
    assert rows[SEARCH] == 3.0
    assert rows[STAGES] == 1.0
    assert rows[PARTS] == 3.0
    assert rows["naive loader, alone"] == pytest.approx(17 / 11, abs=0.01)


def test_a_study_is_read_in_the_order_in_which_trials_ended(tmp_path: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    study = optuna.create_study(storage=storage, direction="maximize")
    ends = [(TrialState.COMPLETE, 0.4, 30), (TrialState.PRUNED, None, 10)]
    for number, (state, value, seconds) in enumerate(ends):
        trial = create_trial(state=state, value=value)
        trial.datetime_start = NOON
        trial.datetime_complete = NOON + timedelta(seconds=seconds)
        study.add_trial(trial)
        source = {"epoch": 1, "seconds": 2.0, (TRAINED if number else REUSED): "key"}
        adapted = {"epoch": 2, "seconds": 9.0, "seconds/score": 1.0, "mAP": 0.4}
        folder = tmp_path / f"trials/trial-{number:04d}/a-b"
        folder.mkdir(parents=True)
        (folder / "reports.json").write_text(json.dumps([source, adapted]))
    found = read_study(tmp_path, wall_s=50)
    assert list(found.costs(UNITS)) == [(11, None), (21, 0.4)]
    assert [epoch.seconds for epoch in found.trained] == [2, 10, 10]
    assert found.idle_s == 20


def test_trials_side_by_side_cover_their_time_once() -> None:
    times = [(0, 10), (5, 20), (7, 9), (30, 31)]
    at = [tuple(NOON + timedelta(seconds=second) for second in pair) for pair in times]
    assert covered_s((begin, end) for begin, end in at) == 21


def test_a_study_of_ray_tune_is_read_report_by_report(tmp_path: Path) -> None:
    source, adapted = (
        {"is_adapted": kind, "seconds": 2.0, "seconds/score": 1.0} for kind in (False, True)
    )
    lines = [{"epochs": [source, source]}, {"epochs": [adapted, adapted], "score": 0.3}]
    (tmp_path / "epochs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_plain_study(tmp_path, wall_s=9)
    assert list(found.costs(UNITS)) == [(2, None), (22, 0.3)]


def test_the_choice_of_a_study_is_its_best_trial_by_the_last_score(tmp_path: Path) -> None:
    theirs = tmp_path / "ray-tune"
    theirs.mkdir()
    lines = [
        {"trial": "a", "parameters": {"x": 1}, "score": 0.9},
        {"trial": "b", "parameters": {"x": 2}, "score": 0.4},
        {"trial": "a", "parameters": {"x": 1}, "score": 0.3},
        {"trial": "c", "parameters": {"x": 3}},
    ]
    (theirs / "epochs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert choice_of(theirs) == {"x": 2}
    storage = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    study = optuna.create_study(storage=storage, direction="maximize")
    distributions: dict[str, BaseDistribution] = {"x": IntDistribution(1, 9)}
    for x, value in ((1, 0.2), (2, 0.5), (3, 0.4)):
        study.add_trial(create_trial(params={"x": x}, distributions=distributions, value=value))
    assert choice_of(tmp_path) == {"x": 2}


@pytest.mark.parametrize("arm", ARMS)
def test_every_kind_of_study_has_a_study_file(arm: str, tmp_path: Path) -> None:
    path = write_study(arm, 2, num_trials=7, settings={"optimiser.num_epochs": 9}, to=tmp_path)
    config = study_config(tomllib.loads(path.read_text()), {})
    assert (config.run.seed, config.study.seed, config.study.num_trials) == (2, 2, 7)
    assert (config.run.num_epochs, config.final_transfer) == (9, "")
    num_starts = {RANDOM: 0, DAAM: 2}.get(arm, 1)  # the default, and the demo's
    assert len(config.starting_points()) == num_starts


def test_tables_and_picture_of_studies_that_found_nothing_better(tmp_path: Path) -> None:
    studies = {arm: [study_of(0.5 if arm == RANDOM else 0.2)] for arm in ARMS}
    units = {OURS: UNITS, ALL_NAIVE: UNITS}
    choices = {arm: [0.1] for arm in ARMS}
    rows = cost_table(studies, units, choices).splitlines()[2:]
    assert [row.split(" | ")[4] for row in rows] == ["100%", "-", "-", "-", "-"]
    assert len(factor_table(studies, units).splitlines()) == 2
    draw(studies, units, tmp_path / "costs.png")
    assert (tmp_path / "costs.png").stat().st_size > 0
