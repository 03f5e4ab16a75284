"""A manifest survives the way through a store, and a wrong one is refused in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daam.dataset.format.manifest import (
    DomainManifest,
    ImportSettings,
    OutdatedDomainError,
    ShardEntry,
    SplitManifest,
    has_domain,
    read_manifest,
)
from daam.domains import Split
from daam.errors import ConfigError, ShardError
from daam.storage import open_store
from tests.support.damage import damaged_json


def entry(name: str, *, num_rows: int) -> ShardEntry:
    return ShardEntry(key=f"plaza/{name}.arrow", num_rows=num_rows, size_bytes=9, sha256="a" * 64)


MANIFEST = DomainManifest(
    domain="plaza",
    layout="market1501",
    settings=ImportSettings(
        validation_share=0.25, without_val=False, reencoded=(128, 64), shard_size_bytes=64
    ),
    splits={
        Split.TRAIN: SplitManifest(
            num_rows=5,
            num_cameras=2,
            shards=(entry("train-0", num_rows=3), entry("train-1", num_rows=2)),
            index=entry("train-index", num_rows=5),
            labels=entry("train-labels", num_rows=5),
        ),
        Split.GALLERY: SplitManifest(
            num_rows=1,
            num_cameras=1,
            shards=(entry("gallery-0", num_rows=1),),
            index=entry("gallery-index", num_rows=1),
            labels=entry("gallery-labels", num_rows=1),
        ),
    },
    skipped={"not an image file": 3},
)


def test_what_is_stored_is_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("plaza/manifest.json", MANIFEST.to_json())
    again = read_manifest(store, "plaza")
    assert again == MANIFEST
    assert list(again.splits) == [Split.TRAIN, Split.GALLERY]
    assert again.to_json() == MANIFEST.to_json()


def test_a_domain_of_an_older_format_is_to_be_imported_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert not has_domain(store, "plaza")
    store.write("plaza/manifest.json", MANIFEST.to_json())
    assert has_domain(store, "plaza")
    older = json.loads(MANIFEST.to_json())
    older["version"] = 1
    for split in older["splits"].values():
        del split["index"]
    store.write("plaza/manifest.json", json.dumps(older).encode())
    assert not has_domain(store, "plaza")
    with pytest.raises(
        OutdatedDomainError, match=r"version 1,.* import it again: .* --domain plaza"
    ):
        read_manifest(store, "plaza")


def test_the_files_of_a_split_are_shards_index_and_labels() -> None:
    files = [file.key.removeprefix("plaza/") for file in MANIFEST.split(Split.TRAIN).files]
    assert files == [f"train-{part}.arrow" for part in ("0", "1", "index", "labels")]


def test_a_domain_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no domain plaza .*data import .*--domain plaza"):
        read_manifest(open_store(str(tmp_path)), "plaza")
    with pytest.raises(ConfigError, match="not a domain name"):
        read_manifest(open_store(str(tmp_path)), "../plaza")


def test_a_split_that_is_not_there_is_said() -> None:
    assert MANIFEST.split(Split.TRAIN).num_rows == 5
    with pytest.raises(ShardError, match="no split query, only train, gallery"):
        MANIFEST.split(Split.QUERY)
    with pytest.raises(ShardError, match=r"no split validation_query.* --validation-share above 0"):
        MANIFEST.split(Split.VALIDATION_QUERY)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for data in (b"", b"{", b"\xff\xfe", b"[]", b"null"):
        store.write("plaza/manifest.json", data)
        with pytest.raises(ShardError, match=r"plaza/manifest.json is no manifest .*rebuild it"):
            read_manifest(store, "plaza")


def change(*path: str | int, to: object) -> Callable[[Any], None]:
    def edit(content: Any) -> None:
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (change("format", to="zip"), "format is 'zip'"),
        (change("version", to=4), "version is 4, not 3"),
        (change("domain", to="campus"), "domain is 'campus'"),
        (change("splits", to=[]), "splits: Input should be an object"),
        (change("splits", "test", to={}), r"splits\.test\.\[key\]: Input should be 'train'"),
        (change("splits", "train", "num_rows", to=6), "do not add up"),
        (change("splits", "train", "index", "num_rows", to=4), "do not add up"),
        (change("splits", "train", "num_rows", to=True), r"train\.num_rows: .* valid integer"),
        (change("splits", "train", "num_cameras", to=-1), "num_cameras: .* greater than or equal"),
        (change("splits", "train", "num_tracks", to="2"), "num_tracks: .* valid integer"),
        (change("splits", "train", "has_times", to=None), "has_times: .* valid boolean"),
        (change("splits", "train", "has_identities", to=1), "has_identities: .* valid boolean"),
        (change("cameras", to={"door": "a"}), r"cameras\.door.*: .* valid integer"),
        (change("cameras", to={"1": 1}), r"cameras\.1: .* valid string"),
        (change("settings", "cut_test", to="1"), r"settings\.cut_test: .* valid number"),
        (change("settings", "options", to={"pattern": None}), "pattern: .* valid string"),
        (change("splits", "train", "labels", "sha256", to="A"), "sha256: .* match pattern"),
        (change("splits", "train", "labels", "size_bytes", to="9"), "size_bytes: .* valid integer"),
        (change("splits", "train", "shards", 0, "key", to="campus/x.arrow"), "no key of one"),
        (change("splits", "train", "shards", 0, "key", to="plaza/../x.arrow"), "no key of one"),
        (change("splits", "train", "shards", 0, "key", to="plaza/x\ny.arrow"), "no key of one"),
        (change("settings", "reencoded", to=[128]), r"reencoded\.1: Field required"),
        (change("settings", "reencoded", to=[128, "64"]), r"reencoded\.1: .* valid integer"),
        (change("settings", "without_val", to=0), "without_val: .* valid boolean"),
        (change("settings", "validation_share", to=None), "validation_share: .* valid number"),
        (lambda content: content.pop("layout"), "layout: Field required"),
        (lambda content: content["splits"]["train"].pop("labels"), "labels: Field required"),
        (lambda content: content["splits"]["train"].pop("index"), "index: Field required"),
    ],
)
def test_a_wrong_field_is_named(edit: Callable[[Any], None], complaint: str) -> None:
    content = json.loads(MANIFEST.to_json())
    edit(content)
    with pytest.raises(ShardError, match=complaint):
        DomainManifest.from_json(json.dumps(content).encode(), domain="plaza", place="here")


def test_a_damaged_manifest_is_the_same_domain_or_refused_in_a_line(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    num_refused = 0
    for _, content in damaged_json(MANIFEST.to_json()):
        store.write("plaza/manifest.json", content)
        try:
            manifest = read_manifest(store, "plaza")
        except ShardError:
            num_refused += 1
        else:
            assert manifest.domain == "plaza"
            assert manifest.splits.keys() <= MANIFEST.splits.keys()
    assert num_refused > 300
