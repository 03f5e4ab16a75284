"""A trial that is a group of Ray Train workers, on a cluster with no CPU to spare beside them."""

import json
from pathlib import Path

import pytest

from daam.config.load import read_toml
from daam.runs.run_folder import read_reports
from daam.storage import open_store
from tests.support.commands import Finished, started_python
from tune.folder import open_study
from tune.space import study_config

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

TRANSFERS = ["plaza->campus", "campus->plaza"]
STUDY = f"""
[study]
search_transfers = {json.dumps(TRANSFERS)}
holdout = "plaza->station"
num_trials = 1
workers_per_trial = 2

[search]
"optimiser.learning_rate" = [1e-3, 1e-2]
"""


def search(study_file: Path, *, scratch: Path) -> Finished:
    """Run the search of a study, in the folder `study`."""
    script = ("-m", "tests.support.trials_of_two_workers")
    arguments = (str(study_file), str(scratch / "study"))
    with started_python(*script, *arguments, scratch=scratch) as command:
        return command.finished(within_s=500)


@pytest.fixture
def study_file(tiny_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(tiny_file.read_text() + STUDY)
    return path


def test_a_trial_of_two_workers_gives_one_score(study_file: Path, tmp_path: Path) -> None:
    finished = search(study_file, scratch=tmp_path)
    assert finished.code == 0, finished.err + finished.out
    folder = open_store(str(tmp_path / "study"))
    study, _ = open_study(folder, study_config(read_toml(study_file), {}), scratch=tmp_path)
    (trial,) = study.get_trials()
    assert trial.state.name == "COMPLETE"
    assert list(trial.intermediate_values) == [1, 2]
    scores = trial.user_attrs["scores"]
    assert list(scores) == TRANSFERS
    assert trial.value == pytest.approx(sum(scores.values()) / 2)
    for transfer in TRANSFERS:
        home = folder.child(f"trials/trial-0000/{transfer.replace('->', '-')}")
        assert [row["epoch"] for row in read_reports(home)] == [1, 2]
        assert read_reports(home)[-1]["mAP"] == scores[transfer]
    assert "trial-0000 epoch 1/2 score " in finished.out
    assert "trial-0000 COMPLETE score " in finished.out


def test_a_trial_that_cannot_run_is_not_tried_again_and_again(
    study_file: Path, tmp_path: Path
) -> None:
    text = study_file.read_text().replace("identities_per_batch = 4", "identities_per_batch = 400")
    study_file.write_text(text.replace("max_failures = 3", "max_failures = 1"))
    finished = search(study_file, scratch=tmp_path)
    assert finished.code == 2
    assert "400" in finished.err.splitlines()[-1]
    assert "trial-0000 FAIL; 1 of 1 over" in finished.out
