"""Reads by presigned URL: one signature per object, and boto3 for whatever does not succeed."""

import time
from pathlib import Path

import pytest
from urllib3.exceptions import SSLError

from daam.errors import StorageError
from daam.storage import open_store
from daam.storage.s3 import connection as connections
from daam.storage.s3 import presigned
from daam.storage.s3.address import S3Settings
from tests.support.canned_server import CannedServer, Request, Response, s3_error


@pytest.fixture(autouse=True)
def signed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "ACCESS",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def ranged(data: bytes, request: Request) -> Response:
    first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
    part = data[first : last + 1]
    span = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
    return Response(status=206, body=part, headers={"Content-Range": span})


def is_presigned(request: Request) -> bool:
    return "X-Amz-Signature=" in request.path and "authorization" not in request.headers


def test_all_ranges_of_an_object_share_a_signature_and_a_connection() -> None:
    with CannedServer(lambda request: ranged(b"0123456789", request)) as server:
        store = open_store(f"s3://market/people?endpoint={server.endpoint}")
        for start in range(8):
            found = store.read_range("key", start=start, size=3)
            assert found == b"0123456789"[start : start + 3]
        http = connections.connection(S3Settings(endpoint=server.endpoint))._presigned._http
        assert http is not None
        (pool,) = http.pools._container.values()
        assert (pool.num_connections, pool.num_requests) == (1, 8)
    (path,) = {request.path for request in server.requests}
    assert path.startswith("/market/people/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert all(map(is_presigned, server.requests))


def test_a_url_is_signed_anew_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    with CannedServer(lambda request: ranged(b"0123456789", request)) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}&region=eu-west-3")
        store.read("key")
        later = time.monotonic() + presigned.REUSED_FOR_S
        time.sleep(1)  # a signature has its second in it
        monkeypatch.setattr(presigned.time, "monotonic", lambda: later)
        store.read("key")
    assert len({request.path for request in server.requests}) == 2


def test_a_server_that_refuses_presigned_urls_is_read_through_boto3() -> None:
    def answer(request: Request) -> Response:
        if is_presigned(request):
            return s3_error(403, "AccessDenied")
        return ranged(b"0123456789", request)

    with CannedServer(answer) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        assert store.read("key") == b"0123456789"
        assert store.read_range("key", start=2, size=3) == b"234"
        assert store.size("key") == 10


def test_a_certificate_that_only_boto3_trusts_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with CannedServer(lambda request: ranged(b"0123456789", request)) as server:
        reads = connections.connection(S3Settings(endpoint=server.endpoint))._presigned
        assert reads._http is not None

        def refuse(*_: object, **__: object) -> None:
            raise SSLError("certificate verify failed")

        monkeypatch.setattr(reads._http, "request", refuse)
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        for _ in range(2):
            assert store.read("key") == b"0123456789"
        assert reads._http is None
    assert not any(map(is_presigned, server.requests))


def test_behind_a_proxy_boto3_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    with CannedServer(lambda request: ranged(b"0123456789", request)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        store = open_store("s3://market?endpoint=http://store.test")
        assert store.read_range("key", start=2, size=3) == b"234"
    (request,) = proxy.requests
    assert request.path == "http://store.test/market/key"
    assert "authorization" in request.headers


def test_an_anonymous_read_is_not_signed() -> None:
    with CannedServer(lambda request: ranged(b"data", request)) as server:
        place = f"s3://market?endpoint={server.endpoint}&anonymous=true"
        assert open_store(place).read("key") == b"data"
    (request,) = server.requests
    assert request.path == "/market/key"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1])
def test_objects_of_any_size_are_read_whole(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)

    def answer(request: Request) -> Response:
        if size == 0:
            return Response(status=416)
        return ranged(data[:size], request)

    with CannedServer(answer) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        assert store.read("key") == data[:size]
        assert store.size("key") == size


def test_a_body_that_is_shorter_than_it_says_is_asked_for_again() -> None:
    def answer(request: Request) -> Response:
        given = ranged(b"0123456789", request)
        if len(server.requests) == 1:
            headers = {**given.headers, "Content-Length": "10", "Connection": "close"}
            return Response(status=206, body=given.body[:4], headers=headers)
        return given

    with CannedServer(answer) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        assert store.read("key") == b"0123456789"
    assert [request.headers["range"] for request in server.requests][1:] == ["bytes=4-9"]


def test_a_body_is_not_decompressed() -> None:
    headers = {"Content-Encoding": "gzip"}
    with CannedServer(lambda _: Response(body=b"no gzip", headers=headers)) as server:
        assert open_store(f"s3://market?endpoint={server.endpoint}").read("key") == b"no gzip"


def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with CannedServer(lambda request: ranged(b"data", request)) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        for read in (lambda: store.read("key"), lambda: store.read_range("key", start=0, size=2)):
            with pytest.raises(StorageError, match="anonymous=true"):
                read()
    assert server.requests == []


def test_settings_that_boto3_refuses_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULTS_MODE", "no such mode")
    for uri in ("s3://market", "s3://market?endpoint=http://127.0.0.1:1&addressing=virtual"):
        with pytest.raises(StorageError, match="cannot list"):
            open_store(uri).list()


def test_the_region_is_known_to_the_service_that_issues_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    for settings, region in (
        (S3Settings(region="eu-west-1"), "eu-west-1"),
        (S3Settings(), "us-west-2"),
    ):
        made = connections.connection(settings)
        assert made.region == made._session.region_name == region


def test_an_address_with_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:hunter2@127.0.0.1:1")
    with pytest.raises(StorageError, match="holds a user or password") as caught:
        open_store("s3://market").read("key")
    assert "hunter2" not in str(caught.value)
