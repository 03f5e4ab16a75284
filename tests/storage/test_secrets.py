"""Credentials of S3 are nowhere but in the environment: no log, error, file or pickle has them."""

import logging
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from daam.config.load import run_config
from daam.errors import ConfigError, DaamError, StorageError
from daam.execution.driver import drive_run
from daam.runs.run_folder import open_run, portable, start_run, trained
from daam.runs.worker import train_run
from daam.storage import open_store
from daam.storage.local_s3 import LocalS3
from tests.support.canned_server import CannedServer, s3_error
from tests.support.tiny_domains import add_domain
from tune.search.trial import TrialPlan, run_trial
from tune.settings import study_config

SECRET = "secret" + os.urandom(12).hex()
TOKEN = "token" + os.urandom(12).hex()
ACCESS = "access" + os.urandom(6).hex()
HIDDEN = {"secret": SECRET, "token": TOKEN}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A real S3 server with credentials that nothing else in the world has."""
    server = LocalS3(tmp_path / "s3", access_key=ACCESS, secret_key=SECRET)
    server.make_bucket("daam-tests")
    with server:
        for name, value in (*server.environment.items(), ("AWS_SESSION_TOKEN", TOKEN)):
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        yield server


def assert_clean(what: str | bytes, *, where: object) -> None:
    for name, value in HIDDEN.items():
        found = value.encode() in what if isinstance(what, bytes) else value in what
        assert not found, f"the {name} is in {where}"


def test_an_import_and_a_run_on_s3_leave_no_secret_anywhere(
    server: LocalS3,
    tiny_settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    # With settings in the addresses: what is made from them must keep them.
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    settings = f"endpoint={server.endpoint}&region=us-east-1&deadline_s=60"
    root = f"s3://daam-tests/domains?{settings}"
    for name in ("plaza", "campus"):
        add_domain(open_store(root), name, scratch=tmp_path / "raw")
    tree = tiny_settings | {
        "transfer": "plaza->campus",
        "data": tiny_settings["data"] | {"root": root, "cache": str(tmp_path / "cache")},
    }
    folder = start_run(
        open_store(f"s3://daam-tests/runs?{settings}").locate("tiny"), run_config(tree)
    )
    config = open_run(folder)
    list(train_run(folder, config))
    trained(folder.uri)

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} > {"manifest.json", "config.toml", "latest.json"}
    for path in files:
        assert_clean(path.read_bytes(), where=path)
    assert_clean(caplog.text, where="the log")
    assert_clean("".join(capfd.readouterr()), where="the output")
    # The store has a client by now, and the client has the secret.
    plan = TrialPlan(
        study="demo",
        study_uri=folder.uri,
        stages_uri=folder.child("stages").uri,
        run=config.model_dump(),
        transfers=(config.transfer,),
        score="validation",
        aggregate="mean",
        num_workers=1,
        scratch=str(tmp_path),
    )
    for sent in (folder, folder.child("checkpoints"), config, plan, (run_trial, drive_run)):
        assert_clean(pickle.dumps(sent), where=sent)
        assert_clean(cloudpickle.dumps(sent), where=sent)


def repeating_server() -> CannedServer:
    """A server whose refusals repeat all that AWS's may, and more."""
    text = f"{SECRET} {TOKEN}"
    more = {"Token-0": TOKEN, "StringToSign": text, "CanonicalRequest": text}
    return CannedServer(lambda _: s3_error(403, "Odd", text, **more))


def unreachable() -> None:
    open_store("s3://bucket?endpoint=http://127.0.0.1:1&deadline_s=2").write("key", b"x")


def refused() -> None:
    with repeating_server() as other:
        open_store(f"s3://bucket?endpoint={other.endpoint}").read_range("key", start=1, size=2)


def wrong_secret() -> None:
    os.environ["AWS_SECRET_ACCESS_KEY"] = SECRET + "x"  # restored by the fixture
    open_store("s3://daam-tests").read("key")


def in_the_address() -> None:
    open_store(f"s3://{ACCESS}:{SECRET}@bucket/prefix")


def in_a_setting() -> None:
    open_store(f"s3://bucket/prefix?secret_key={SECRET}&session_token={TOKEN}")


def in_the_weights() -> None:
    portable(run_config({"model": {"weights": f"s3://{ACCESS}:{SECRET}@bucket/weights.pt"}}))


def in_the_endpoint() -> None:
    os.environ["AWS_ENDPOINT_URL"] = f"http://{ACCESS}:{SECRET}@127.0.0.1:1"
    open_store("s3://bucket").list()


def in_a_broken_endpoint() -> None:
    os.environ["AWS_ENDPOINT_URL"] = f"{ACCESS}:{SECRET}@127.0.0.1"
    open_store("s3://bucket").list()


def in_the_words_of_a_helper() -> None:
    # Of one that prints more than the JSON that it should.
    said = f'Refreshed. {{"SecretAccessKey": "{SECRET}", "SessionToken": "{TOKEN}"}}'
    config = Path(os.environ["HOME"]) / "config"
    config.write_text(f"[profile helped]\ncredential_process = echo '{said}'\n")
    os.environ["AWS_CONFIG_FILE"] = str(config)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        del os.environ[name]
    open_store("s3://daam-tests?profile=helped").read("key")


def in_the_address_of_a_proxy() -> None:
    os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = f"http://user:{SECRET}/x@127.0.0.1:1"
    open_store("s3://bucket?endpoint=http://192.0.2.1:1&deadline_s=2").read("key")


@pytest.mark.parametrize(
    "fault",
    [
        *(unreachable, refused, wrong_secret, in_the_address, in_a_setting, in_the_weights),
        *(in_the_endpoint, in_a_broken_endpoint, in_the_words_of_a_helper),
        in_the_address_of_a_proxy,
    ],
)
def test_no_failure_tells_a_secret(
    server: LocalS3,
    fault: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HOME", str(tmp_path))
    # Put back afterwards, whatever a fault does to them.
    for name in ("AWS_CONFIG_FILE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")
        del os.environ[name]
    with pytest.raises(StorageError) as caught:
        fault()
    assert isinstance(caught.value, DaamError)
    assert_clean("".join(traceback.format_exception(caught.value)), where="the traceback")
    assert_clean(caplog.text, where="the log")
    assert_clean(pickle.dumps(caught.value), where="the pickled error")
    error: BaseException | None = caught.value
    while error is not None:
        assert_clean(f"{error!r} {vars(error)}", where=repr(error))
        error = error.__cause__


def test_an_address_in_place_of_a_folder_or_of_a_choice_is_refused_and_not_repeated() -> None:
    address = f"s3://{ACCESS}:{SECRET}@bucket/weights.pt"
    with pytest.raises(ConfigError) as cache:
        portable(run_config({"data": {"cache": address}}))
    study = {
        "study": {"search_transfers": ["plaza->campus"], "holdout": "plaza->station"},
        "search": {"model.weights": ["imagenet", address]},
    }
    with pytest.raises(StorageError) as choice:
        study_config(study, {})
    for caught in (cache, choice):
        assert_clean("".join(traceback.format_exception(caught.value)), where="the traceback")
