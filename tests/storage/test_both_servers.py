"""Two real S3 servers that have little in common behave the same through a store."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

from daam.storage import MissingKeyError, Store, open_store
from daam.storage.s3 import writing
from tests.conftest import BUCKET
from tests.support.swift_server import PAGE_SIZE

PART_BYTES = 5 << 20  # the least that S3 allows


@pytest.fixture
def on_server(real_server: str) -> Store:
    """An empty store on each server."""
    return open_store(f"s3://{BUCKET}/{uuid4().hex}")


@pytest.mark.parametrize(
    "key",
    [
        "with space/and two  spaces",
        "plus+sign/a+b",
        "ünï/人/é",
        "percent%20/100%",
        "signs/a&b=c;d,e@f:g#h!'()~$*",
        "quotes/\"'`<>",
        "question?mark=1",
        "dots/...a",
    ],
)
def test_a_key_may_have_any_signs(on_server: Store, key: str) -> None:
    data = os.urandom(100)
    on_server.write(key, data)
    assert on_server.read(key) == data
    assert on_server.read_range(key, start=10, size=20) == data[10:30]
    assert on_server.size(key) == 100
    assert on_server.list() == [key]
    on_server.delete(key)
    assert not on_server.exists(key)
    with pytest.raises(MissingKeyError):
        on_server.read_range(key, start=0, size=1)


def test_a_folder_may_have_spaces_and_other_signs(on_server: Store) -> None:
    child = on_server.child("my runs/a+b ü")
    child.write("latest.json", b"{}")
    assert open_store(child.uri).read("latest.json") == b"{}"
    assert on_server.list("my runs/") == ["my runs/a+b ü/latest.json"]


def test_a_listing_of_several_pages_has_every_key_once(on_server: Store) -> None:
    keys = [f"a b+ü/{number:04d}" for number in range(2 * PAGE_SIZE + 5)]
    for key in reversed(keys):
        on_server.write(key, b"")
    assert on_server.list() == keys
    assert on_server.list(f"{keys[0][:-1]}") == keys[:10]


def test_a_large_object_is_sent_in_parts_and_read_in_ranges(
    on_server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PART_SIZE_BYTES", PART_BYTES)
    data = os.urandom(2 * PART_BYTES + 1)
    (tmp_path / "file").write_bytes(data)
    on_server.upload(tmp_path / "file", "large ü")
    assert on_server.size("large ü") == len(data)
    assert on_server.read("large ü") == data
    start = PART_BYTES - 10
    assert on_server.read_range("large ü", start=start, size=20) == data[start : start + 20]
    assert on_server.list() == ["large ü"]
