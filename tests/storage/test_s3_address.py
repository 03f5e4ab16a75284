"""The settings in an address: kept by everything made from it, and never a credential."""

import pickle
import shlex

import pytest

from daam.errors import StorageError
from daam.storage import open_parent, open_store

ADDRESS = "s3://bucket/a/b?endpoint=https://host:9000&region=eu-west-1&profile=lab%26co"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket",
        "s3://bucket/prefix",
        ADDRESS,
        "s3://bucket?addressing=path&anonymous=true&deadline_s=2.5",
        "s3://bucket/a%20b?endpoint=http://127.0.0.1:9000&addressing=virtual",
    ],
)
def test_an_address_comes_back_as_it_was(uri: str) -> None:
    store = open_store(uri)
    assert store.uri == uri
    assert pickle.loads(pickle.dumps(store)).uri == uri  # noqa: S301
    assert shlex.split(f"--resume {shlex.quote(store.uri)}")[1] == uri


def test_defaults_are_left_out_of_it() -> None:
    uri = "s3://bucket/?addressing=auto&anonymous=false&deadline_s=120"
    assert open_store(uri).uri == "s3://bucket"


def test_children_keys_and_parents_keep_the_settings() -> None:
    settings = ADDRESS.partition("?")[2]
    store = open_store(ADDRESS)
    assert store.child("c/d").uri == f"s3://bucket/a/b/c/d?{settings}"
    assert store.child("c/d").name == "d"
    assert store.locate("x.pt") == f"s3://bucket/a/b/x.pt?{settings}"
    parent, key = open_parent(store.locate("x.pt"))
    assert (parent.uri, key) == (ADDRESS, "x.pt")
    with pytest.raises(StorageError, match="question mark"):
        store.child("what?")


@pytest.mark.parametrize("file", ["name", "folder/name", "/name", "~/name"])
def test_a_local_file_has_its_folder_as_parent(file: str) -> None:
    store, key = open_parent(file)
    assert store.locate(key) == open_store(file).uri


@pytest.mark.parametrize("address", ["folder/", "s3://bucket", "s3://bucket/", "s3://bucket?a=b"])
def test_a_folder_is_no_file(address: str) -> None:
    with pytest.raises(StorageError, match="give that of a file"):
        open_parent(address)


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("endpont=https://host", "did you mean endpoint"),
        ("versioning=on", "there are endpoint, region"),
        ("region", "name=value"),
        ("region=a&region=b", "twice"),
        ("region=", "region=eu-west-1"),
        ("endpoint=host:9000", "endpoint=https"),
        ("endpoint=ftp://host", "endpoint=https"),
        ("endpoint=https://host:port", "endpoint=https"),
        ("endpoint=https://host?x=y", "endpoint=https"),
        ("endpoint=https://host/bucket", "s3://bucket/prefix"),
        ("addressing=dns", "addressing=path"),
        ("anonymous=yes", "anonymous=true"),
        ("deadline_s=0", "more than 0"),
        ("deadline_s=-1", "deadline_s=60"),
    ],
)
def test_a_setting_that_is_none_is_refused(query: str, complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint):
        open_store(f"s3://bucket/prefix?{query}")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAKEY:hidden@bucket/prefix",
        "s3://bucket?access_key=hidden",
        "s3://bucket?secretKey=hidden&region=x",
        "s3://bucket?session_token=hidden",
        "s3://bucket?AWS_SECRET_ACCESS_KEY=hidden",
        "s3://bucket?X-Amz-Signature=hidden",
        "s3://bucket?hidden",
        "s3://bucket?HiDDeN+/hidden=1",
        "s3://bucket?endpoint=https://user:hidden@host",
        "s3://bucket?region=hidden/hidden",
        "file://user:hidden@host/x",
        "https://user:hidden@host/x",
    ],
)
def test_what_may_be_a_credential_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_store(uri)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None
