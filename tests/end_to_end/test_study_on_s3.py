"""A study with domains and folder on S3, and credentials that nothing else in the world has."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from daam.runtime.local_s3 import LocalS3
from tests.end_to_end.commands import Finished, ran

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

ACCESS, SECRET, TOKEN = (f"{kind}{os.urandom(12).hex()}" for kind in ("access", "secret", "token"))
STUDY = """
[study]
name = "remote"
search_transfers = ["plaza->campus"]
holdout = "plaza->station"
num_trials = 2
concurrent_trials = 1
num_startup_trials = 2

[search]
"optimiser.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study that was run, and all folders in which it may have left something."""

    finished: Finished
    folder: Path
    places: list[Path]


@pytest.fixture(scope="module")
def study(
    tiny_file: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Study]:
    scratch = tmp_path_factory.mktemp("remote-study")
    server = LocalS3(scratch / "s3", access_key=ACCESS, secret_key=SECRET)
    bucket = server.make_bucket("daam-tests")
    shutil.copytree(tiny_root, scratch / "s3" / "daam-tests" / "domains")
    file = scratch / "study.toml"
    file.write_text(tiny_file.read_text() + STUDY)
    with (
        server,
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="ray-") as ray,  # its sockets want a short path
    ):
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_SESSION_TOKEN", TOKEN)
        patch.setenv("RAY_TMPDIR", ray)
        patch.delenv("AWS_PROFILE", raising=False)
        finished = ran(
            *("tune", "--config", str(file), "--storage", f"{bucket}/runs"),
            *("--set", f"data.root={bucket}/domains", "--set", f"data.cache={scratch / 'cache'}"),
            scratch=scratch / "out",
        )
        yield Study(
            finished=finished,
            folder=scratch / "s3" / "daam-tests" / "runs" / "remote",
            places=[scratch, Path(ray)],
        )


def test_it_runs_to_its_end(study: Study) -> None:
    assert study.finished.code == 0, study.finished.err
    document = json.loads((study.folder / "study.json").read_text())
    assert [trial["state"] for trial in document["trials"]] == ["COMPLETE"] * 2
    names = {path.name for path in study.folder.rglob("*")}
    assert names > {"best.toml", "trials.csv", "report.html", "scores.json", "latest.json"}


def test_no_file_of_the_study_of_ray_or_of_the_cache_has_a_secret(study: Study) -> None:
    files = [path for place in study.places for path in place.rglob("*") if path.is_file()]
    # Of all of these, that is: domains and study on the server, cache, output, Ray's own logs.
    suffixes = {path.suffix for path in files}
    assert suffixes > {".arrow", ".json", ".toml", ".csv", ".html", ".log", ".out", ".err"}
    for path in files:
        content = path.read_bytes()
        for name, value in (("secret", SECRET), ("token", TOKEN)):
            assert value.encode() not in content, f"the {name} is in {path}"
