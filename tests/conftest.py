"""A real S3 server, stores, and a small data set in Market-1501's naming, for all rooms."""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import simplejpeg

import launch
from daam.commands.terminal.screen import console
from daam.config.load import run_config, to_toml
from daam.config.schema import RunConfig
from daam.runs.run_folder import start_run
from daam.runs.worker import train_run
from daam.storage import Store, open_store
from daam.storage.local_s3 import LocalS3
from tests.support.commands import Finished, Launch
from tests.support.swift_server import SwiftServer, user_attributes_work
from tests.support.tiny_domains import TINY_RUN, add_domain

BUCKET = "daam-tests"
SERVER_FIXTURES = {"s3_server", "s3_uri", "swift_server", "real_server"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `make kills`."""
    parser.addoption("--kills", type=int, help="how often to kill each command of test_killed.py")
    parser.addoption("--kills-page", help="page of the docs with the table of what came of it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    """Mark what needs an S3 server, and run the longest files first.

    So no process is left alone with one at the end. Tests marked `cluster_lab` run only where
    `-m cluster_lab` asks for them.
    """
    if "cluster_lab" not in config.option.markexpr:
        of_the_lab = [item for item in items if item.get_closest_marker("cluster_lab")]
        config.hook.pytest_deselected(items=of_the_lab)
        items[:] = [item for item in items if item not in of_the_lab]

    def paths(marker: str) -> set[Path]:
        return {item.path for item in items if item.get_closest_marker(marker)}

    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if SERVER_FIXTURES & set(item.fixturenames) or parameters.get("store") == "s3":
            item.add_marker("server")

    cluster, slow = paths("cluster"), paths("slow")
    slow |= {item.path for item in items if item.path.parent.name in ("end_to_end", "faults")}
    items.sort(key=lambda item: (item.path not in cluster, item.path not in slow))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launch:
    """Runs a command in this process."""

    def run(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        monkeypatch.setattr(console, "width", 200)
        monkeypatch.setattr(console, "stderr", False)  # an earlier command's --json set it
        capsys.readouterr()
        try:
            code = launch.main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        shown = capsys.readouterr()
        return Finished(code, shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """`rclone serve s3` on a free port; the AWS variables name it for the rest of the run."""
    server = LocalS3(
        tmp_path_factory.mktemp("s3"),
        access_key="testaccess",
        secret_key="testsecret",
        listing_cache_s=0.5,  # tests look at its files, and change them
    )
    server.make_bucket(BUCKET)
    with server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.environment.items():
            environment.setenv(name, value)
        environment.delenv("AWS_PROFILE", raising=False)
        yield server


@pytest.fixture(scope="session")
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    """OpenStack Swift on a free port, beside the other server; the AWS variables don't name it."""
    folder = tmp_path_factory.mktemp("swift")
    if not user_attributes_work(folder):
        pytest.skip(f"Swift needs user attributes, which {folder} has not; set TMPDIR elsewhere")
    with SwiftServer(folder) as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture(params=["rclone", "swift"])
def real_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of each of two real S3 servers; the AWS variables name it, and who may use it."""
    name = "s3_server" if request.param == "rclone" else "swift_server"
    server: LocalS3 | SwiftServer = request.getfixturevalue(name)
    for variable, value in server.environment.items():
        monkeypatch.setenv(variable, value)
    return server.endpoint


@pytest.fixture
def s3_uri(s3_server: LocalS3) -> str:
    """An empty place in a bucket of the real S3 server."""
    return f"s3://{BUCKET}/{uuid4().hex}/prefix"


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind, so that one test holds for both."""
    if request.param == "local":
        return open_store(str(tmp_path / "store"))
    return open_store(request.getfixturevalue("s3_uri"))


@pytest.fixture
def small_market(tmp_path: Path) -> Path:
    """A folder of 8 train and 4 test identities under 3 cameras, with distractors and junk.

    Every image is random, so no two are equal. `Thumbs.db` lies about as in the original.
    """
    generator = np.random.default_rng(0)
    root = tmp_path / "market"

    def write(folder: str, identity: int, camera: int, number: int) -> None:
        prefix = "-1" if identity == -1 else f"{identity:04d}"
        name = f"{prefix}_c{camera}s1_{number:06d}_{number % 4:02d}.jpg"
        pixels = generator.integers(0, 256, (32, 16, 3), dtype=np.uint8)
        (root / folder / name).write_bytes(simplejpeg.encode_jpeg(pixels))

    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder).mkdir(parents=True)
        (root / folder / "Thumbs.db").write_bytes(b"no image")
    for camera in (1, 2, 3):
        for identity in range(2, 10):
            for number in (51, 76):
                write("bounding_box_train", identity, camera, number)
        for identity in range(101, 105):
            write("query", identity, camera, 26)
            for number in (1, 51):
                write("bounding_box_test", identity, camera, number)
        for identity in (0, -1):
            write("bounding_box_test", identity, camera, 101)
    return root


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the domains plaza, campus and station, each of 18 people; not to be changed."""
    scratch = tmp_path_factory.mktemp("tiny")
    for name in ("plaza", "campus", "station"):
        add_domain(open_store(str(scratch / "domains")), name, scratch=scratch / "raw")
    return scratch / "domains"


@pytest.fixture(scope="session")
def tiny_settings(tiny_root: Path) -> dict[str, Any]:
    """Settings of a run of two epochs of two steps on those domains."""
    tree = tomllib.loads(TINY_RUN)
    tree["data"] |= {"root": str(tiny_root), "cache": str(tiny_root.parent / "cache")}
    return tree


@pytest.fixture(scope="session")
def tiny_config(tiny_settings: dict[str, Any]) -> RunConfig:
    """The same, as a run's settings."""
    return run_config(tiny_settings)


@pytest.fixture(scope="session")
def tiny_file(tiny_config: RunConfig) -> Path:
    """The same, as a settings file."""
    path = Path(tiny_config.data.root).parent / "tiny.toml"
    path.write_text(to_toml(tiny_config))
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a finished run of those settings, plaza to campus; not to be changed."""
    folder = start_run(str(tmp_path_factory.mktemp("runs") / "tiny"), tiny_config)
    list(train_run(folder, tiny_config))
    return folder.uri
