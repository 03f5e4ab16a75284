"""A study on S3: it ends as one in a folder does, and leaves no credential behind."""

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import Finished, ran
from tests.support.private_s3 import PrivateS3, assert_holds_no_secret, private_s3

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

STUDY = """
[study]
name = "remote"
search_transfers = ["plaza->campus"]
holdout = "plaza->station"
num_trials = 2
concurrent_trials = 1
num_startup_trials = 2
contender_seeds = 1

[search]
"optimiser.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """How the command ended, and where it worked."""

    finished: Finished
    server: PrivateS3

    @property
    def folder(self) -> Path:
        return self.server.folder / "runs" / "remote"


@pytest.fixture(scope="module")
def study(
    tiny_file: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Study]:
    scratch = tmp_path_factory.mktemp("study-on-s3")
    file = scratch / "study.toml"
    file.write_text(tiny_file.read_text() + STUDY)
    with private_s3(tiny_root, scratch=scratch) as server:
        words = ("tune", "--config", str(file), *server.settings)
        yield Study(finished=ran(*words, scratch=scratch / "out-of-tune"), server=server)


def test_a_study_runs_to_its_end(study: Study) -> None:
    assert study.finished.code == 0, study.finished.err
    document = json.loads((study.folder / "study.json").read_text())
    assert [trial["state"] for trial in document["trials"]] == ["COMPLETE"] * 2
    names = {path.name for path in study.folder.rglob("*")}
    assert names > {"best.toml", "trials.csv", "report.html", "scores.json", "latest.json"}


def test_rays_sockets_and_logs_are_closed_to_other_users(study: Study) -> None:
    (folder,) = study.server.ray.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.glob("ray/session_*/logs/*.log"))


def test_no_file_written_by_the_study_or_ray_holds_a_secret(study: Study) -> None:
    files = study.server.files()
    suffixes = {path.suffix for path in files}
    assert suffixes > {".arrow", ".json", ".toml", ".csv", ".html", ".log", ".out", ".err"}
    assert_holds_no_secret(files)
