"""Servers that are down, refuse, break off or stall end in words within seconds."""

import socket
import time

import pytest

from daam.errors import StorageError
from daam.storage import open_store
from daam.storage.local_s3 import LocalS3
from tests.support.fault_proxy import Fault, FaultProxy, Rule


def test_an_unreachable_endpoint_is_named_within_seconds(
    s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(StorageError, match=f"127.0.0.1:{port} cannot be reached"):
        open_store("s3://bucket").read("key")
    assert time.monotonic() - start < 10


def test_a_wrong_secret_is_reported(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = open_store(s3_uri)
    for operation in (
        lambda: store.read("key"),
        lambda: store.exists("key"),
        lambda: store.write("key", b"x"),
        lambda: store.list(),
    ):
        with pytest.raises(StorageError, match="refuses the credentials") as caught:
            operation()
        assert "wrong" not in str(caught.value)


def test_an_unknown_access_key_is_reported(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StorageError, match="refuses the credentials"):
        open_store(s3_uri).list()


def test_a_missing_bucket_is_no_missing_key(s3_server: LocalS3) -> None:
    store = open_store("s3://nowhere/prefix")
    for operation in (
        lambda: store.read("key"),
        lambda: store.exists("key"),
        lambda: store.write("key", b"x"),
        lambda: store.list(),
    ):
        with pytest.raises(StorageError, match="has no bucket nowhere"):
            operation()


def test_missing_credentials_are_reported(
    s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(home / "none"))
    with pytest.raises(StorageError, match="no credentials"):
        open_store("s3://bucket").read("key")
    monkeypatch.setenv("AWS_PROFILE", "unknown")
    with pytest.raises(StorageError, match="AWS_PROFILE"):
        open_store("s3://bucket").read("key")


def test_a_body_that_breaks_off_is_read_on_from_there(
    s3_server: LocalS3, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 20_000
    open_store(s3_uri).write("key", data)
    twice = Rule(fault=Fault.CUT_BODY, max_faults=2)
    with FaultProxy(s3_server.endpoint, rule=twice) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert open_store(s3_uri).read("key") == data
        assert proxy.num_faults == 2
        proxy.set_rule(twice)
        assert open_store(s3_uri).read_range("key", start=5, size=4_000_000) == data[5:4_000_005]
        assert proxy.num_faults == 2


def test_a_server_that_accepts_and_is_silent_fails_at_the_deadline(
    s3_server: LocalS3,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(StorageError, match="stopped answering"):
            open_store(f"s3://bucket?endpoint={endpoint}&deadline_s=1").read("key")
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_a_server_that_cannot_be_reached_through_a_proxy_names_the_proxys_variable(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://user:hidden@127.0.0.1:9")
    for other in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(other, "")
    with pytest.raises(StorageError, match=rf"not be reached through .*{name}.*NO_PROXY") as caught:
        open_store(s3_uri).write("key", b"")
    assert "hidden" not in str(caught.value)


def test_an_endpoint_with_a_path_in_the_environment_is_refused(
    s3_uri: str, s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{s3_server.endpoint}/bucket")
    with pytest.raises(StorageError, match=r"AWS_ENDPOINT_URL.* has a path"):
        open_store(s3_uri).write("key", b"")
