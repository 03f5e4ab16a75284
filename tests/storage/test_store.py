"""What holds for every store: a local folder, and a bucket of a real S3 server."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daam.errors import ConfigError, StorageError
from daam.storage import MissingKeyError, Store, open_store


def test_what_is_written_is_read(store: Store) -> None:
    for key, data in (("a/b.bin", os.urandom(3_000_000)), ("empty", b""), ("ä ö+%", b"x")):
        store.write(key, data)
        assert store.read(key) == data
        assert b"".join(store.chunks(key)) == data
        assert store.size(key) == len(data)
        assert store.exists(key)


def test_a_write_replaces_what_was_there(store: Store) -> None:
    store.write("key", b"long old content")
    store.write("key", b"new")
    assert store.read("key") == b"new"


def test_creating_happens_once(store: Store) -> None:
    assert store.create("deep/key", b"first")
    is_replaced = store.create("deep/key", b"second")  # by `rclone serve s3`
    assert store.read("deep/key") == (b"second" if is_replaced else b"first")
    assert store.list() == ["deep/key"]
    assert not (is_replaced and store.local_path("deep/key"))


def test_files_go_up_and_come_down_whole(store: Store, tmp_path: Path) -> None:
    data = os.urandom(40_000_000)  # several parts of a multipart upload
    (tmp_path / "up").write_bytes(data)
    store.upload(tmp_path / "up", "folder/file")
    store.download("folder/file", tmp_path / "deep" / "down")
    assert (tmp_path / "deep" / "down").read_bytes() == data
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["down"]


def test_a_range_is_read_to_the_byte(store: Store) -> None:
    data = os.urandom(3_000_000)
    store.write("key", data)
    for start, size in ((0, 1), (0, 3_000_000), (1_234_567, 11_500), (2_999_999, 1), (7, 0)):
        assert store.read_range("key", start=start, size=size) == data[start : start + size]


def test_a_range_past_the_end_is_an_error_and_no_short_answer(store: Store) -> None:
    store.write("key", b"x" * 100)
    for start, size in ((90, 11), (100, 1), (1000, 5)):
        with pytest.raises(StorageError, match="key"):
            store.read_range("key", start=start, size=size)
    with pytest.raises(MissingKeyError, match="nowhere"):
        store.read_range("nowhere", start=0, size=1)
    for start, size in ((-1, 5), (0, -5)):
        with pytest.raises(ValueError, match="not a valid range"):
            store.read_range("key", start=start, size=size)


def test_list_takes_any_beginning_of_a_key(store: Store) -> None:
    keys = ["a/one", "a/two", "a/deep/three", "ab", "b"]
    store.write("zz", b"")
    store.delete("zz")
    assert store.list() == []
    for key in reversed(keys):
        store.write(key, b"x")
    for prefix in ("", "a", "a/", "a/t", "a/deep/", "b", "none", "none/"):
        assert store.list(prefix) == sorted(key for key in keys if key.startswith(prefix))


def test_a_child_sees_the_keys_below_it(store: Store) -> None:
    store.write("a/b/c", b"1")
    store.write("a/d", b"2")
    child = store.child("a")
    assert child.uri == f"{store.uri}/a"
    assert child.list() == ["b/c", "d"]
    child.write("e", b"3")
    assert store.read("a/e") == b"3"
    assert store.child("a/b").read("c") == b"1"


def test_delete_removes_and_forgives(store: Store) -> None:
    store.write("key", b"x")
    store.delete("key")
    store.delete("key")
    assert not store.exists("key")
    assert store.list() == []


def test_a_missing_key_is_named(store: Store, tmp_path: Path) -> None:
    store.write("there", b"x")
    for operation in (
        lambda: store.read("not/there"),
        lambda: store.size("not/there"),
        lambda: store.download("not/there", tmp_path / "down"),
    ):
        with pytest.raises(MissingKeyError, match="not/there"):
            operation()
    assert not store.exists("not/there")
    assert not (tmp_path / "down").exists()


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", ".", "a\\b", "a\nb", "a\0b"]
)
def test_a_key_that_leaves_the_store_is_refused(store: Store, key: str) -> None:
    for operation in (
        lambda: store.read(key),
        lambda: store.write(key, b""),
        lambda: store.delete(key),
        lambda: store.exists(key),
        lambda: store.local_path(key),
        lambda: store.locate(key),
    ):
        with pytest.raises(StorageError, match="cannot be a key"):
            operation()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/a", "a/b", "../a", "a\n", "a\0b", "-a", "a" * 201]
)
def test_a_folder_has_a_plain_name(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a run"):
        store.folder(name, of="run")
    assert store.folder("a+b-c_1.2", of="run").uri == store.locate("a+b-c_1.2")


def test_it_pickles_to_its_address_without_secrets(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("key", b"x")
    pickled = pickle.dumps(store)
    assert b"testsecret" not in pickled
    assert b"testaccess" not in pickled
    assert "testsecret" not in repr(store)
    again = pickle.loads(pickled)  # noqa: S301
    assert again.uri == store.uri
    assert again.read("key") == b"x"


def test_threads_share_a_store(store: Store) -> None:
    def round_trip(number: int) -> bool:
        store.write(f"{number}", str(number).encode() * 1000)
        return store.read(f"{number}") == str(number).encode() * 1000

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(64)))


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("", "empty"),
        ("ftp://host/x", "ftp://"),
        ("s3://", "name of a bucket"),
        ("s3:///prefix", "name of a bucket"),
        ("s3://bucket/../other", "cannot be a key"),
        ("file://host/x", "not a local folder"),
        ("file:///x?region=a", "no settings"),
        ("s3:/bucket/x", "two slashes"),
        ("a\0b", "control characters"),
        ("a\nb", "control characters"),
        ("file:///a%00b", "control characters"),
        ("s3://bucket/a\0b", "cannot be a key"),
    ],
)
def test_an_invalid_address_is_refused(uri: str, complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint):
        open_store(uri)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(StorageError) as caught:
        open_store("s3://AKIAKEY:verysecret@bucket/prefix")
    assert "verysecret" not in str(caught.value)


def test_a_file_address_is_a_folder(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/a%20b").write("key", b"x")
    assert (tmp_path / "a b" / "key").read_bytes() == b"x"
