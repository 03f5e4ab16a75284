"""What AWS answers when it refuses, as its documentation has it, in words that say what to do."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from urllib3.exceptions import SSLError

from daam.errors import StorageError
from daam.storage import MissingKeyError, open_store
from daam.storage.s3.address import S3Settings
from daam.storage.s3.connection import Connection
from daam.storage.s3.reading import ObjectReader
from tests.support.canned_server import CannedServer, Request, Response, s3_error

ACCESS, SECRET, TOKEN = "AKIAEXAMPLE", "wJalrXUtnFEMI", "FQoDYXdzEPT"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials of nobody, and no other settings."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


REFUSALS = {
    "wrong key id": (
        s3_error(403, "InvalidAccessKeyId", "does not exist", AWSAccessKeyId=ACCESS),
        "does not know this access key.*AWS_ACCESS_KEY_ID",
    ),
    "wrong secret": (
        s3_error(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match",
            AWSAccessKeyId=ACCESS,
            StringToSign=f"AWS4-HMAC-SHA256 {TOKEN}",
            CanonicalRequest=f"x-amz-security-token:{TOKEN}",
        ),
        "the secret is not that of the access key",
    ),
    "expired token": (
        s3_error(400, "ExpiredToken", f"The token {TOKEN} has expired.", **{"Token-0": TOKEN}),
        "have expired",
    ),
    "access denied": (s3_error(403, "AccessDenied", "Access Denied"), "what they may do in bucket"),
    "missing bucket": (s3_error(404, "NoSuchBucket", BucketName="market"), "has no bucket market"),
    "bad name": (s3_error(400, "InvalidBucketName", BucketName="market"), "3 to 63 lower-case"),
    "clock": (
        s3_error(
            403,
            "RequestTimeTooSkewed",
            RequestTime="20260101T120000Z",
            ServerTime="2026-01-01T13:00:00Z",
        ),
        "here it is 20260101T120000Z, there 2026-01-01T13:00:00Z",
    ),
    "elsewhere": (
        s3_error(301, "PermanentRedirect", Endpoint="market.s3.eu-west-1.amazonaws.com"),
        "in another region.*and not in us-east-1",
    ),
    "wrong region": (
        s3_error(400, "AuthorizationHeaderMalformed", Region="eu-west-1"),
        "in region eu-west-1 and not in us-east-1.*region=.*eu-west-1",
    ),
    "unknown": (s3_error(418, "Teapot", f"I saw {SECRET}"), "answers .*Teapot"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_what_to_do_and_no_secret(name: str) -> None:
    answer, words = REFUSALS[name]
    with CannedServer(lambda _: answer) as server:
        store = open_store(f"s3://market/prefix?endpoint={server.endpoint}")
        for operation in (
            lambda: store.read("key"),
            lambda: store.read_range("key", start=3, size=5),
            lambda: store.size("key"),
            lambda: store.write("key", b"x"),
            lambda: store.list(),
        ):
            with pytest.raises(StorageError) as caught:
                operation()
            assert re.search(words, str(caught.value)), str(caught.value)
            told = everything_told(caught.value)
            assert SECRET not in told
            assert TOKEN not in told


def everything_told(error: BaseException | None) -> str:
    """The text of an error, of what it holds and of its causes."""
    told = ""
    while error is not None:
        told += f"{error!r} {error} {vars(error)}"
        error = error.__cause__
    return told


def test_a_bucket_whose_region_the_server_names_is_found_there() -> None:
    def answer(request: Request) -> Response:
        if "/eu-west-1/s3/" in request.headers.get("authorization", ""):
            return Response(body=b"data", headers={"ETag": '"x"'})
        return s3_error(400, "AuthorizationHeaderMalformed", Region="eu-west-1")

    with CannedServer(answer) as server:
        assert open_store(f"s3://market?endpoint={server.endpoint}").read("key") == b"data"


def test_a_missing_key_is_missing_and_a_bucket_is_named() -> None:
    with CannedServer(lambda _: s3_error(404, "NoSuchKey", Key="key")) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        assert not store.exists("key")
        with pytest.raises(MissingKeyError, match="nothing under this key"):
            store.read_range("key", start=0, size=1)


def test_requests_to_an_open_bucket_are_not_signed() -> None:
    with CannedServer(lambda _: Response(body=b"data")) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}&anonymous=true")
        assert store.read("key") == b"data"
        assert store.read_range("key", start=0, size=4) == b"data"
    assert len(server.requests) >= 2
    for request in server.requests:
        assert not {"authorization", "x-amz-security-token"} & request.headers.keys()
        assert "Signature" not in request.path
        assert ACCESS not in str(request)


def test_a_bucket_that_is_not_open_is_reported() -> None:
    with CannedServer(lambda _: s3_error(403, "AccessDenied")) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}&anonymous=true")
        with pytest.raises(StorageError, match=r"is not public.*leave anonymous=true out"):
            store.read("key")


def test_no_credentials_at_all_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    for operation in ("read", "size"):
        with pytest.raises(StorageError, match=r"no credentials.*anonymous=true"):
            getattr(open_store("s3://market?endpoint=http://127.0.0.1:1"), operation)("key")
    with pytest.raises(StorageError, match=r"profile \(lab\).*profile="):
        open_store("s3://market?endpoint=http://127.0.0.1:1&profile=lab").read("key")


def test_settings_of_the_address_go_before_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    (tmp_path / "credentials").write_text(
        "[lab]\naws_access_key_id = LABKEY\naws_secret_access_key = x\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with CannedServer(lambda _: Response(body=b"data")) as server:
        place = f"s3://market/a?endpoint={server.endpoint}"
        open_store(f"{place}&region=eu-west-1&profile=lab").read("key")
        open_store(place).read("key")
    first, second = (request.path for request in server.requests)
    assert first.startswith("/market/a/key?")
    assert "Credential=LABKEY%2F" in first
    assert "%2Feu-west-1%2Fs3%2F" in first
    assert f"Credential={ACCESS}%2F" in second
    assert "%2Fus-west-2%2Fs3%2F" in second


def test_a_bucket_can_be_in_the_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with CannedServer(lambda _: Response(body=b"data")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        store = open_store("s3://market?endpoint=http://store.test&addressing=virtual")
        assert store.read("key") == b"data"
        assert store.read_range("key", start=0, size=4) == b"data"
    assert {request.path for request in proxy.requests} == {"http://market.store.test/key"}


def test_a_busy_server_is_asked_again_no_sooner_than_it_says() -> None:
    busy = [
        Response(status=503, headers={"Retry-After": "1"}),
        s3_error(500, "InternalError"),
        s3_error(400, "RequestTimeout"),
    ]
    with CannedServer(lambda _: busy.pop(0) if busy else Response(body=b"data")) as server:
        start = time.monotonic()
        assert open_store(f"s3://market?endpoint={server.endpoint}").read("key") == b"data"
        assert time.monotonic() - start >= 1
    assert len(server.requests) == 4


def test_a_server_that_stays_busy_fails_at_the_deadline() -> None:
    with CannedServer(lambda _: s3_error(503, "SlowDown", "Reduce your rate")) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}&deadline_s=1")
        start = time.monotonic()
        for operation in (
            lambda: store.read_range("key", start=0, size=1),
            lambda: store.write("key", b"x"),
        ):
            with pytest.raises(StorageError, match="SlowDown"):
                operation()
        assert time.monotonic() - start < 4
    assert len(server.requests) > 4


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    answer = Response(status=503, headers={"Retry-After": "3600"})
    with CannedServer(lambda _: answer) as server, pytest.raises(StorageError, match="503"):
        open_store(f"s3://market?endpoint={server.endpoint}").list()
    assert len(server.requests) == 1


def test_a_server_without_ranged_reads_gives_whole_objects_and_no_ranges() -> None:
    data = bytes(range(256)) * 50_000
    with CannedServer(lambda _: Response(body=data, headers={"ETag": '"x"'})) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        assert store.read("key") == data
        with pytest.raises(StorageError, match="use a server with ranged reads"):
            store.read_range("key", start=1000, size=10)


def test_an_object_that_changes_while_it_is_read_is_no_mixture() -> None:
    part, versions = 8 << 20, iter(range(100))

    def answer(request: Request) -> Response:
        begin, end = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        headers = {
            "Content-Range": f"bytes {begin}-{end}/{4 * part}",
            "ETag": f'"{next(versions)}"',
        }
        return Response(status=206, body=bytes(end - begin + 1), headers=headers)

    with CannedServer(answer) as server, pytest.raises(StorageError, match="was replaced"):
        open_store(f"s3://market?endpoint={server.endpoint}").read("key")


def lend_credentials(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *, expire_in: timedelta
) -> Path:
    """Have the profile `lab` take its credentials from a file each time it refreshes them."""
    file = folder / "lent.json"
    expiration = (datetime.now(UTC) + expire_in).isoformat()
    lent = {"Version": 1, "AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "SessionToken": TOKEN}
    file.write_text(json.dumps(lent | {"Expiration": expiration}))
    (folder / "config").write_text(f"[profile lab]\ncredential_process = cat {file}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    return file


def test_a_refusal_is_reported_when_the_credentials_can_no_longer_be_refreshed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lent = lend_credentials(monkeypatch, tmp_path, expire_in=timedelta(minutes=5))

    def answer(_: Request) -> Response:
        lent.unlink(missing_ok=True)
        return s3_error(418, "Teapot", f"I saw {SECRET}")

    with CannedServer(answer) as server, pytest.raises(StorageError, match="try again") as caught:
        open_store(f"s3://market?endpoint={server.endpoint}&profile=lab").list()
    assert SECRET not in everything_told(caught.value)


def test_credentials_that_are_expired_when_they_come_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lend_credentials(monkeypatch, tmp_path, expire_in=timedelta(minutes=-5))
    store = open_store("s3://market?endpoint=http://127.0.0.1:1&profile=lab")
    for operation in (lambda: store.read("key"), lambda: store.read_range("key", start=0, size=1)):
        with pytest.raises(StorageError, match=r"still expired.*AWS_PROFILE"):
            operation()


def chunked(size: int, *, of: int) -> Response:
    """A part of an object that says where it lies and then holds nothing."""
    headers = {
        "Content-Range": f"bytes 0-{size - 1}/{of}",
        "Transfer-Encoding": "chunked",
        "ETag": '"x"',
    }
    return Response(status=206, body=b"0\r\n\r\n", headers=headers)


def test_answers_that_hold_nothing_fail_at_the_deadline() -> None:
    with CannedServer(lambda _: chunked(10, of=10)) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}&deadline_s=0.6")
        for operation in (
            lambda: store.read("key"),
            lambda: store.read_range("key", start=0, size=5),
        ):
            with pytest.raises(StorageError, match=r"stopped|0 read"):
                operation()
    assert 4 < len(server.requests) < 100


def test_a_whole_object_that_always_ends_early_fails_at_the_deadline() -> None:
    # No ranged reads, and never more than the first half: nothing new comes with a new try.
    headers = {"Content-Length": "2000", "Connection": "close", "ETag": '"x"'}
    with CannedServer(lambda _: Response(body=bytes(1000), headers=headers)) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}&deadline_s=0.6")
        with pytest.raises(StorageError, match="stopped answering"):
            store.read("key")


def test_an_answer_that_does_not_say_its_size_is_refused() -> None:
    answer = Response(body=b"4\r\ndata\r\n0\r\n\r\n", headers={"Transfer-Encoding": "chunked"})
    with CannedServer(lambda _: answer) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}&deadline_s=1")
        with pytest.raises(StorageError, match=r"does not send its size.*proxy"):
            store.read("key")


def test_a_failure_of_tls_is_retried_and_then_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        num_connections = 0

        def answer_without_tls() -> None:
            nonlocal num_connections
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    num_connections += 1
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.close()

        threading.Thread(target=answer_without_tls, daemon=True).start()
        place = f"https://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(StorageError, match=r"TLS with .*speaks https.*AWS_CA_BUNDLE"):
            open_store(f"s3://market?endpoint={place}&deadline_s=0.6").write("key", b"x")
        server.shutdown(socket.SHUT_RDWR)
    assert num_connections > 1


def test_a_body_with_a_bad_tls_record_is_read_on_from_there() -> None:
    class Body:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def iter_chunks(self, _: int) -> Iterator[bytes]:
            yield self._data[:3]
            if len(self._data) > 3:
                raise SSLError("bad record mac")

        def close(self) -> None:
            """Nothing is open."""

    class FakeConnection:
        settings = S3Settings()
        endpoint = "https://host"

        def get_presigned(self, place: dict[str, str], *, byte_range: str) -> None:
            """Leave it to boto3."""

        def call(self, operation: str, parameters: dict[str, str], **_: object) -> dict[str, Any]:
            begin, end = map(int, parameters["Range"].removeprefix("bytes=").split("-"))
            headers = {"content-range": f"bytes {begin}-5/6"}
            body = Body(b"abcdef"[begin : end + 1])
            return {"Body": body, "ResponseMetadata": {"HTTPHeaders": headers}}

    connection = cast(Connection, FakeConnection())
    reader = ObjectReader(connection, {"Bucket": "market", "Key": "key"}, uri="s3://market/key")
    assert reader.range(start=0, size=6) == b"abcdef"


def test_a_web_server_that_redirects_everything_is_no_endless_loop() -> None:
    redirect = Response(status=301, headers={"Location": "https://elsewhere/"})
    with CannedServer(lambda _: redirect) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        for operation in (lambda: store.read("key"), lambda: store.size("key"), store.list):
            with pytest.raises(StorageError, match="in another region, or behind another address"):
                operation()
    assert len(server.requests) < 10
