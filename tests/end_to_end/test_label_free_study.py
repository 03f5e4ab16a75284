"""A study of one labelled source and a target without labels, from the preset to the model."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from daam.config.load import read_toml, run_config
from daam.inference.unlabelled import RANKING_SCORE
from daam.runs.run_folder import read_reports
from daam.storage import open_store
from tests.support.commands import Finished, ran
from tests.support.tiny_domains import add_domain
from tests.support.unlabelled_crops import import_crops
from tune.contenders.final import DEFAULT, SOURCE_ONLY, TUNED

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

NUM_TRIALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """How the command ended, the study's folder, and the root of the two domains."""

    finished: Finished
    folder: Path
    root: Path

    def document(self) -> dict:
        return json.loads((self.folder / "study.json").read_text())


@pytest.fixture(scope="module")
def study(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    scratch = tmp_path_factory.mktemp("label-free")
    root = scratch / "domains"
    add_domain(open_store(str(root)), "plaza", scratch=scratch / "raw")
    import_crops(scratch / "crops", to=str(root), known="camera")
    finished = ran(
        *("tune", "--preset", "adapt", "--config", str(tiny_file)),
        *("--source", "plaza", "--target", "mine", "--storage", str(scratch / "runs")),
        *("--trials", str(NUM_TRIALS), "--set", "study.contender_seeds=1"),
        *("--set", "study.race_trials=0", "--set", f"data.root={root}"),
        *("--set", "optimiser.num_epochs=3", "--set", "loss.target.num_neighbours=4"),
        scratch=scratch / "out",
    )
    return Study(finished=finished, folder=scratch / "runs" / "adapt", root=root)


def test_it_runs_to_its_end(study: Study) -> None:
    assert study.finished.code == 0, study.finished.err
    states = [trial["state"] for trial in study.document()["trials"]]
    assert len(states) == NUM_TRIALS
    assert set(states) <= {"COMPLETE", "PRUNED"}


def test_trials_are_scored_without_labels(study: Study) -> None:
    rows = [
        row
        for path in study.folder.glob("trials/*/plaza-mine/reports.json")
        for row in read_reports(open_store(str(path.parent)))
    ]
    assert any(RANKING_SCORE in row for row in rows)
    assert not any("mAP" in row for row in rows)


def test_the_contenders_are_assessed_on_the_target(study: Study) -> None:
    holdout = study.document()["holdout"]
    assert holdout["transfer"] == "plaza->mine"
    assert holdout["contenders"].keys() == {SOURCE_ONLY, DEFAULT, TUNED}
    for contender in holdout["contenders"].values():
        (assessment,) = contender["scores"].values()
        assert 0 < assessment["ranking_score"] < 1
        assert "mAP" not in assessment


def test_the_report_says_what_choosing_without_labels_gives(study: Study) -> None:
    assert "of 14 settings by this score" in study.finished.out
    assert "of 14 settings by this score" in (study.folder / "report.html").read_text()


def test_the_best_settings_train_on_the_target(study: Study) -> None:
    best = run_config(read_toml(study.folder / "best.toml"))
    assert best.transfer == "plaza->mine"
    assert not best.evaluation.hold_out
