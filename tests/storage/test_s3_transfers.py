"""Large objects, many requests and forked processes over one client."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daam.errors import StorageError
from daam.storage import open_store
from daam.storage.local_s3 import LocalS3
from daam.storage.s3.address import S3Settings
from daam.storage.s3.connection import connection
from daam.storage.s3.reading import MAX_PARALLEL_PARTS, PART_SIZE_BYTES
from tests.support.canned_server import CannedServer, Request, Response, s3_error
from tests.support.fault_proxy import Fault, FaultProxy, Rule


def ranged(data: bytes, request: Request) -> Response:
    """What a server with ranged reads answers."""
    begin, end = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
    part = data[begin : end + 1]
    span = f"bytes {begin}-{begin + len(part) - 1}/{len(data)}"
    return Response(status=206, body=part, headers={"Content-Range": span, "ETag": '"x"'})


@pytest.fixture
def large() -> bytes:
    """Nine parts and a bit."""
    return os.urandom(1 << 20) * (9 * PART_SIZE_BYTES >> 20) + b"the end"


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for servers that do not look at them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")


def test_a_large_object_comes_in_order_and_a_few_parts_at_a_time(
    large: bytes, signed: None
) -> None:
    def answer(request: Request) -> Response:
        begin = int(re.findall(r"\d+", request.headers["range"])[0])
        time.sleep(0.1 if begin % (2 * PART_SIZE_BYTES) else 0.02)  # later parts come first
        return ranged(large, request)

    with CannedServer(answer) as server:
        chunks = open_store(f"s3://market?endpoint={server.endpoint}").chunks("key")
        found = bytearray()
        for number, chunk in enumerate(chunks):
            found += chunk
            if number == 0:
                time.sleep(0.3)
                assert len(server.requests) == 1, "nobody asked for more than a chunk"
        assert found == large
        assert len(server.requests) == 10


def test_a_reader_that_leaves_early_has_fetched_little(large: bytes, signed: None) -> None:
    with CannedServer(lambda request: ranged(large, request)) as server:
        chunks = open_store(f"s3://market?endpoint={server.endpoint}").chunks("key")
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > PART_SIZE_BYTES:
                break
        del chunks
        time.sleep(0.2)
        assert len(server.requests) <= 2 + MAX_PARALLEL_PARTS < 10


def test_large_objects_survive_connections_that_break(
    s3_server: LocalS3, s3_uri: str, tmp_path: Path
) -> None:
    data = os.urandom(40_000_000)
    open_store(s3_uri).write("key", data)
    rule = Rule(fault=Fault.RESET_IN_BODY, share=0.5)
    with FaultProxy(s3_server.endpoint, rule=rule) as proxy:
        open_store(f"{s3_uri}?endpoint={proxy.endpoint}").download("key", tmp_path / "file")
        assert proxy.num_faults > 0
    assert (tmp_path / "file").read_bytes() == data


def test_half_an_upload_is_dropped_when_a_part_fails_for_good(signed: None) -> None:
    def answer(request: Request) -> Response:
        if request.method == "POST":
            return Response(
                body=b"<InitiateMultipartUploadResult><UploadId>u1</UploadId>"
                b"</InitiateMultipartUploadResult>"
            )
        if request.method == "PUT" and "partNumber=2" in request.path:
            return s3_error(507, "QuotaExceeded")
        return Response(status=204 if request.method == "DELETE" else 200, headers={"ETag": '"x"'})

    with CannedServer(answer) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        with pytest.raises(StorageError, match="is full"):
            store.write("key", bytes(33 << 20))
    assert [request.path for request in server.requests if request.method == "DELETE"] == [
        "/market/key?uploadId=u1"
    ]


def test_stores_with_the_same_settings_share_a_client_and_its_connections(
    s3_server: LocalS3, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = connection(S3Settings()), connection(S3Settings())
    assert first is second
    assert connection(S3Settings(region="eu-west-1")) is not first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert connection(S3Settings()) is not first


def test_64_ranges_at_once_are_right_and_no_connection_is_thrown_away(
    s3_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = os.urandom(1_000_000)
    store = open_store(s3_uri)
    store.write("key", data)

    def matches(start: int) -> bool:
        return store.read_range("key", start=start, size=777) == data[start : start + 777]

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(matches, range(0, 640_000, 5_000)))
    assert "pool is full" not in caplog.text


def test_a_forked_process_makes_its_own_connections(s3_uri: str) -> None:
    store = open_store(s3_uri)
    store.write("key", b"data")
    own = connection(S3Settings())
    child = os.fork()
    if child == 0:
        right = store.read_range("key", start=1, size=2) == b"at" and store.read("key") == b"data"
        os._exit(0 if right and connection(S3Settings()) is not own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.read("key") == b"data"
    assert connection(S3Settings()) is own


def test_pages_are_stored_as_pages(signed: None) -> None:
    with CannedServer(lambda _: Response(headers={"ETag": '"x"'})) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        store.write("report.html", b"<p>")
        store.write("study.json", b"{}")
    sent = {request.path.rpartition("/")[2]: request.headers for request in server.requests}
    assert sent["report.html"]["content-type"] == "text/html; charset=utf-8"
    assert "html" not in sent["study.json"].get("content-type", "")
