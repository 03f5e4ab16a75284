"""A trial trains its transfers in turn and ends with a score, or with the reason why not."""

import shutil
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import ray.tune

from daam.config.schema import RunConfig
from daam.runs.run_folder import read_reports
from daam.runs.stages import stage_savings
from daam.runs.worker import REPORTED_BEFORE
from daam.storage import open_store
from tests.support.tiny_domains import add_domain
from tests.support.tiny_runs import tiny_config
from tune.search import trial
from tune.search.launching import (
    EPOCH,
    FAILURE,
    LAST_EPOCH,
    OF_TRANSFER,
    SCORE,
    TRAINING_S,
    report_epochs,
    trained_here,
)
from tune.search.trial import TrialPlan, run_trial, trial_epochs

TRANSFERS = ("plaza->campus", "campus->plaza")


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the domains plaza and campus; not to be changed."""
    folder = tmp_path_factory.mktemp("domains")
    for name in ("plaza", "campus"):
        add_domain(open_store(str(folder / "store")), name, scratch=folder)
    return folder / "store"


@pytest.fixture
def settings_of(domains: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a trial of two transfers, three epochs each, the first on the source alone."""

    def settings(*, root: Path = domains, study: str = "study", **changes: Any) -> dict[str, Any]:
        run = tiny_config(root, {"optimiser.num_epochs": 3})
        return {
            "study": study,
            "study_uri": str(tmp_path / study),
            "stages_uri": str(tmp_path / study / "stages"),
            "run": run.model_dump(),
            "transfers": TRANSFERS,
            "score": "validation",
            "aggregate": "mean",
            "num_workers": 1,
            "number": 0,
            "parameters": {},
            **changes,
        }

    return settings


def test_transfers_follow_each_other_and_their_scores_are_combined(
    settings_of: Callable[..., dict[str, Any]],
) -> None:
    rows = list(trial_epochs(settings_of(), trained_here))
    assert [row[EPOCH] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {row[LAST_EPOCH] for row in rows} == {6}
    # Epochs of the source stage have no score of their own.
    assert [row[SCORE] is None for row in rows] == [True, False, False, True, False, False]
    first, last = rows[2], rows[5]
    seconds = [row[TRAINING_S] for row in rows]
    assert seconds == sorted(seconds)
    assert first[SCORE] == first[f"{OF_TRANSFER}plaza->campus"]
    of_each = [last[f"{OF_TRANSFER}{transfer}"] for transfer in TRANSFERS]
    assert of_each[0] == first[SCORE]
    assert last[SCORE] == pytest.approx(fmean(of_each))
    worst = list(trial_epochs(settings_of(study="worst", aggregate="worst"), trained_here))
    assert worst[5][SCORE] == min(of_each)


def test_a_trial_that_is_stopped_begins_no_later_transfer(
    settings_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    epochs = trial_epochs(settings_of(), trained_here)
    for _ in range(3):
        next(epochs)
    epochs.close()
    trial = tmp_path / "study/trials/trial-0000"
    assert [folder.name for folder in trial.iterdir()] == ["plaza-campus"]


def timeless(epochs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a trial without the seconds and whether they were stored before."""
    return [
        {name: row[name] for name in row if name not in (TRAINING_S, REPORTED_BEFORE)}
        for row in epochs
    ]


def test_an_interrupted_trial_goes_on_as_if_nothing_had_happened(
    settings_of: Callable[..., dict[str, Any]],
) -> None:
    whole = timeless(trial_epochs(settings_of(study="whole"), trained_here))
    epochs = trial_epochs(settings_of(), trained_here)
    begun = timeless(islice(epochs, 5))
    epochs.close()
    assert begun == whole[:5]
    assert timeless(trial_epochs(settings_of(), trained_here)) == whole


def test_trials_share_their_source_stages_and_score_as_if_alone(
    settings_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    parameters = {"loss.target.eps": 0.6, "optimiser.adaptation_rate": 0.3}
    alone = timeless(trial_epochs(settings_of(study="alone", parameters=parameters), trained_here))
    list(trial_epochs(settings_of(), trained_here))
    second = settings_of(number=1, parameters=parameters)
    assert timeless(trial_epochs(second, trained_here)) == alone
    folders = [
        open_store(str(file.parent)) for file in tmp_path.glob("study/trials/*/*/reports.json")
    ]
    savings = stage_savings([read_reports(folder) for folder in folders])
    assert (savings.num_trained, savings.num_reused) == (2, 2)


@pytest.mark.parametrize("labels", ["deleted", "shuffled"])
def test_a_label_free_score_does_not_depend_on_the_labels_of_the_target(
    settings_of: Callable[..., dict[str, Any]], domains: Path, tmp_path: Path, labels: str
) -> None:
    label_free = {"score": "label_free", "transfers": TRANSFERS[:1]}
    whole = timeless(trial_epochs(settings_of(study="whole", **label_free), trained_here))
    assert whole[-1][SCORE] is not None
    root = tmp_path / "store"
    shutil.copytree(domains, root)
    files = sorted((root / "campus").glob("*-labels-*.arrow"))
    assert files
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[1:] + contents[:1], strict=True):
        if labels == "deleted":
            file.unlink()
        else:
            file.write_bytes(content)
    assert timeless(trial_epochs(settings_of(root=root, **label_free), trained_here)) == whole


def test_a_trial_that_is_stopped_closes_its_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: Any) -> None:
        raise SystemExit

    def epochs() -> Generator[dict[str, Any], None, None]:
        try:
            yield {}
        finally:
            closed.append(True)

    closed: list[bool] = []
    monkeypatch.setattr(ray.tune, "report", stop)
    with pytest.raises(SystemExit) as kept:
        report_epochs(epochs(), num_epochs=1)
    assert closed, f"also while {kept} holds the frames"


@pytest.mark.parametrize(("num_workers", "here"), [(1, True), (2, True), (2, False)])
def test_parameters_that_do_not_go_together_are_told_as_a_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_workers: int,
    here: bool,
) -> None:
    monkeypatch.setattr(trial, "trains_here", lambda _: here)
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(ray.tune, "report", told.append)
    plan = TrialPlan(
        study="demo",
        study_uri=str(tmp_path),
        stages_uri=str(tmp_path / "stages"),
        run=RunConfig().model_dump(),
        transfers=("plaza->campus",),
        score="validation",
        aggregate="mean",
        num_workers=num_workers,
        scratch=str(tmp_path),
    )
    # Each may be searched: the ends of every range are tried one at a time.
    parameters = {"loss.target.kind": "exemplar", "teacher.labels": True}
    run_trial({"number": 0, "parameters": parameters}, plan=plan)
    (result,) = told
    assert "teacher.labels = true has no groups to make" in result[FAILURE]
