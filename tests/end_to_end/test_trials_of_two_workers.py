"""A trial of two workers, on a cluster with no CPU to spare beside them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from daam.config.load import read_toml
from daam.runs.run_folder import read_reports
from daam.storage import open_store
from tests.support.commands import ROOT, Finished, started_python
from tune.folder.folder import open_study
from tune.settings import study_config

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Searches:
    """A study that cannot run, and then one that can, on the same cluster."""

    finished: Finished
    study_file: Path
    folder: Path


@pytest.fixture(scope="module", params=[1, 2])
def searches(
    request: pytest.FixtureRequest, tiny_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Searches:
    """On one host, where they are processes beside the trial's, and on two, with Ray Train."""
    scratch = tmp_path_factory.mktemp("searches")
    text = tiny_file.read_text() + STUDY
    impossible, possible = scratch / "impossible.toml", scratch / "possible.toml"
    possible.write_text(text)
    text = text.replace("identities_per_batch = 4", "identities_per_batch = 400")
    impossible.write_text(text.replace("max_failures = 3", "max_failures = 1"))
    script = str(ROOT / "tests" / "support" / "trials_of_two_workers.py")
    places = [
        *(str(impossible), str(scratch / "impossible")),
        *(str(possible), str(scratch / "possible")),
    ]
    with started_python(script, str(request.param), *places, scratch=scratch) as command:
        finished = command.finished(within_s=500)
    return Searches(finished=finished, study_file=possible, folder=scratch / "possible")


def test_a_trial_of_two_workers_gives_one_score(searches: Searches, tmp_path: Path) -> None:
    folder = open_store(str(searches.folder))
    config = study_config(read_toml(searches.study_file), {})
    study, _ = open_study(folder, config, scratch=tmp_path)
    (trial,) = study.get_trials()
    assert trial.state.name == "COMPLETE"
    assert list(trial.intermediate_values) == [2, 4]  # after the source stage
    scores = trial.user_attrs["scores"]
    assert list(scores) == TRANSFERS
    assert trial.value == pytest.approx(sum(scores.values()) / 2)
    for transfer in TRANSFERS:
        home = folder.child(f"trials/trial-0000/{transfer.replace('->', '-')}")
        assert [row["epoch"] for row in read_reports(home)] == [1, 2]
        assert read_reports(home)[-1]["mAP"] == scores[transfer]
    assert "trial-0000 epoch 2/4 score " in searches.finished.out
    assert "trial-0000 COMPLETE score " in searches.finished.out


def test_a_trial_that_cannot_run_is_not_retried(searches: Searches) -> None:
    finished = searches.finished
    assert finished.code == 1, "one of the two searches fails"
    (error,) = (line for line in finished.err.splitlines() if line.startswith("daam: "))
    assert "400" in error
    assert re.search(r"trial-0000 FAIL \(.*400.*\); 1 of 1 over", finished.out)
