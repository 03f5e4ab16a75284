"""Reads of a server whose address is known: as a client of boto3 makes them, without one."""

from pathlib import Path

import boto3
import pytest

from daam.errors import StorageError
from daam.storage import open_store
from daam.storage.s3 import connection as connections
from daam.storage.s3.address import S3Settings
from daam.storage.s3.direct import direct_endpoint, object_url
from tests.support.canned_server import Answer, Asked, CannedServer

SERVER = "http://127.0.0.1:9000"


@pytest.fixture(autouse=True)
def signed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "ACCESS",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a client was made")

    monkeypatch.setattr(connections, "_client", refuse)


def ranged(data: bytes, request: Asked) -> Answer:
    first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
    part = data[first : last + 1]
    span = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
    return Answer(status=206, body=part, headers={"Content-Range": span})


@pytest.mark.usefixtures("no_client")
def test_small_objects_and_ranges_are_read_without_a_client() -> None:
    with CannedServer(lambda request: ranged(b"0123456789", request)) as server:
        store = open_store(f"s3://market/people?endpoint={server.endpoint}")
        assert store.read("key") == b"0123456789"
        assert store.read_range("key", start=2, size=3) == b"234"
    assert [request.path for request in server.asked] == ["/market/people/key"] * 2
    assert all("Credential=ACCESS" in request.headers["authorization"] for request in server.asked)


@pytest.mark.usefixtures("no_client")
def test_a_server_without_ranged_reads_is_read_without_a_client_too() -> None:
    with CannedServer(lambda _: Answer(body=b"data")) as server:
        assert open_store(f"s3://market?endpoint={server.endpoint}").read("key") == b"data"
    assert len(server.asked) == 1


@pytest.mark.usefixtures("no_client")
def test_an_anonymous_read_is_not_signed() -> None:
    with CannedServer(lambda request: ranged(b"data", request)) as server:
        place = f"s3://market?endpoint={server.endpoint}&anonymous=true"
        assert open_store(place).read("key") == b"data"
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize("size", [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1])
def test_objects_of_any_size_are_read_whole(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)

    def answer(request: Asked) -> Answer:
        if size == 0:
            return Answer(status=416)
        return ranged(data[:size], request)

    with CannedServer(answer) as server:
        assert open_store(f"s3://market?endpoint={server.endpoint}").read("key") == data[:size]


def test_a_body_that_is_shorter_than_it_says_is_asked_for_again() -> None:
    def answer(request: Asked) -> Answer:
        given = ranged(b"0123456789", request)
        if len(server.asked) == 1:
            return Answer(
                status=206,
                body=given.body[:4],
                headers=dict(given.headers) | {"Transfer-Encoding": "identity"},
            )
        return given

    with CannedServer(answer) as server:
        store = open_store(f"s3://market?endpoint={server.endpoint}")
        assert store.read("key") == b"0123456789"
    assert len(server.asked) > 1


@pytest.mark.parametrize(
    "key",
    [
        "key",
        "a b/c+d",
        "ä/ü~(1)!.jpg",
        "100%/x=y&z",
        "plus+and space",
        "a//b",
        "quote'\"",
        "tab\tx",
    ],
)
def test_addresses_are_those_of_a_client(key: str) -> None:
    client = boto3.client("s3", endpoint_url=SERVER, region_name="us-east-1")
    link = client.generate_presigned_url("get_object", Params={"Bucket": "market", "Key": key})
    assert object_url(SERVER, bucket="market", key=key) == link.partition("?")[0]


@pytest.mark.parametrize(
    ("settings", "environment", "endpoint"),
    [
        (S3Settings(endpoint=SERVER), {}, SERVER),
        (S3Settings(endpoint=SERVER + "/"), {"AWS_ENDPOINT_URL": "http://other"}, SERVER),
        (S3Settings(endpoint=SERVER, addressing="path"), {}, SERVER),
        (S3Settings(endpoint=SERVER, addressing="virtual"), {}, None),
        (S3Settings(), {}, None),
        (S3Settings(), {"AWS_ENDPOINT_URL": SERVER}, SERVER),
        (S3Settings(), {"AWS_ENDPOINT_URL": "http://x", "AWS_ENDPOINT_URL_S3": SERVER}, SERVER),
        (
            S3Settings(),
            {"AWS_ENDPOINT_URL": SERVER, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            None,
        ),
        (S3Settings(endpoint="https://s3.eu-west-1.amazonaws.com"), {}, None),
        (S3Settings(), {"AWS_ENDPOINT_URL": "http://user:password@host"}, None),
        (S3Settings(), {"AWS_ENDPOINT_URL": "host:9000"}, None),
        (S3Settings(), {"AWS_ENDPOINT_URL": "http://host:port"}, None),
    ],
)
def test_only_plain_addresses_do_without_a_client(
    settings: S3Settings,
    environment: dict[str, str],
    endpoint: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert direct_endpoint(boto3.Session(), settings) == endpoint


@pytest.mark.parametrize("line", ["s3 =\n    addressing_style = virtual\n", "services = lab\n"])
def test_a_profile_that_has_a_say_in_where_requests_go_is_left_to_boto3(
    line: str, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{line}")
    assert direct_endpoint(boto3.Session(), S3Settings(endpoint=SERVER)) is None


@pytest.mark.usefixtures("no_client")
def test_stores_of_one_server_share_its_connections() -> None:
    with CannedServer(lambda request: ranged(b"data", request)) as server:
        place = f"s3://market?endpoint={server.endpoint}"
        for store in (open_store(place), open_store(place), open_store(place).child("people")):
            assert store.read("key") == b"data"
        http = connections.connection(S3Settings(endpoint=server.endpoint)).http
        (pool,) = http._manager.pools._container.values()
        assert (pool.num_connections, pool.num_requests) == (1, 3)


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
    assert server.asked == []


def test_settings_that_boto3_refuses_are_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULTS_MODE", "no such mode")
    for uri in ("s3://market", "s3://market?endpoint=http://127.0.0.1:1&addressing=virtual"):
        with pytest.raises(StorageError, match="cannot list"):
            open_store(uri).list()


def test_the_region_is_known_to_whoever_lends_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    for settings, region in (
        (S3Settings(region="eu-west-1"), "eu-west-1"),
        (S3Settings(), "us-west-2"),
    ):
        made = connections.connection(settings)
        assert made.region == made.session.region_name == region


def test_an_address_with_a_password_is_refused_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:hunter2@127.0.0.1:1")
    with pytest.raises(StorageError, match="holds a user or password") as caught:
        open_store("s3://market").read("key")
    assert "hunter2" not in str(caught.value)
