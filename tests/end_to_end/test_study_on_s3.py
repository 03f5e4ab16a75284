"""A study and a run on S3, with credentials that nothing else in the world has."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from daam.storage.local_s3 import LocalS3
from tests.support.commands import Finished, ran

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
class Work:
    """A study, a run of two workers, and all folders in which they may have left something."""

    study: Finished
    study_folder: Path
    run: Finished
    run_folder: Path
    places: list[Path]


@pytest.fixture(scope="module")
def work(
    tiny_file: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Work]:
    scratch = tmp_path_factory.mktemp("remote-study")
    server = LocalS3(scratch / "s3", access_key=ACCESS, secret_key=SECRET)
    bucket = server.make_bucket("daam-tests")
    folder = scratch / "s3" / "daam-tests"
    shutil.copytree(tiny_root, folder / "domains")
    file = scratch / "study.toml"
    file.write_text(tiny_file.read_text() + STUDY)
    settings = [
        *("--storage", f"{bucket}/runs", "--set", f"data.root={bucket}/domains"),
        *("--set", f"data.cache={scratch / 'cache'}"),
    ]
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
        study = ran("tune", "--config", str(file), *settings, scratch=scratch / "out-of-tune")
        run = ran(
            *("train", "--config", str(tiny_file), "--workers", "2", "--name", "run"),
            *("--transfer", "plaza->campus", *settings),
            scratch=scratch / "out-of-train",
        )
        yield Work(
            study=study,
            study_folder=folder / "runs" / "remote",
            run=run,
            run_folder=folder / "runs" / "run",
            places=[scratch, Path(ray)],
        )


def test_a_study_runs_to_its_end(work: Work) -> None:
    assert work.study.code == 0, work.study.err
    document = json.loads((work.study_folder / "study.json").read_text())
    assert [trial["state"] for trial in document["trials"]] == ["COMPLETE"] * 2
    names = {path.name for path in work.study_folder.rglob("*")}
    assert names > {"best.toml", "trials.csv", "report.html", "scores.json", "latest.json"}


def test_so_does_a_run_of_two_workers(work: Work) -> None:
    assert work.run.code == 0, work.run.err
    assert (work.run_folder / "checkpoints" / "latest.json").exists()


def test_rays_sockets_and_logs_are_closed_to_other_users(work: Work) -> None:
    (folder,) = work.places[-1].iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.glob("ray/session_*/logs/*.log"))


def test_no_file_of_theirs_of_ray_or_of_the_cache_has_a_secret(work: Work) -> None:
    files = [path for place in work.places for path in place.rglob("*") if path.is_file()]
    # Of all of these, that is: domains and runs on the server, cache, output, Ray's own logs.
    suffixes = {path.suffix for path in files}
    assert suffixes > {".arrow", ".json", ".toml", ".csv", ".html", ".log", ".out", ".err"}
    for path in files:
        content = path.read_bytes()
        for name, value in (("secret", SECRET), ("token", TOKEN)):
            assert value.encode() not in content, f"the {name} is in {path}"
