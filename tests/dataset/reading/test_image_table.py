"""Rows of images are those that were imported, whatever the shards, and cost no copy."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from daam.dataset.cache import ShardCache
from daam.dataset.format import shards
from daam.dataset.format.manifest import read_manifest
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.reading.image_table import ImageTable, numbered_through, open_images
from daam.dataset.reading.labels import read_identities, read_names
from daam.domains import WHOLE_TRAIN_SPLITS, Split
from daam.errors import ShardError
from daam.storage import Store, open_store
from tests.support.known import known


@pytest.fixture
def plaza(small_market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A domain of several shards, each of several record batches."""
    monkeypatch.setattr(shards, "BATCH_SIZE_BYTES", 2_500)
    store = open_store(str(tmp_path / "store"))
    index = read_layout("market1501", small_market)
    import_domain(index, domain="plaza", to=store, shard_size_bytes=6_000)
    return store


def test_splits_follow_one_another(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    together = open_images(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=WHOLE_TRAIN_SPLITS, cache=cache
    )
    identities = read_identities(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=WHOLE_TRAIN_SPLITS, cache=cache
    )
    names = read_names(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=WHOLE_TRAIN_SPLITS, cache=cache
    )
    assert together.num_rows == len(together) == len(identities) == len(names) == 48
    assert (known(together.cameras).dtype, identities.dtype) == (np.int32, np.int64)
    row = 0
    for split in WHOLE_TRAIN_SPLITS:
        alone = open_images(
            plaza, manifest=read_manifest(plaza, "plaza"), splits=[split], cache=cache
        )
        rows = np.arange(row, row + alone.num_rows)
        assert together.jpegs(rows) == alone.jpegs(np.arange(alone.num_rows))
        assert (known(together.cameras)[rows] == alone.cameras).all()
        row += alone.num_rows
    assert row == 48


@pytest.fixture
def parts(plaza: Store, tmp_path: Path) -> list[ImageTable]:
    """Two tables, as of two domains."""
    where = {"manifest": read_manifest(plaza, "plaza"), "cache": ShardCache(tmp_path / "cache")}
    return [open_images(plaza, splits=[split], **where) for split in (Split.TRAIN, Split.GALLERY)]


def test_joined_tables_read_as_each_does_alone(parts: list[ImageTable]) -> None:
    joined = ImageTable.joined(parts)
    train, gallery = parts
    every = [jpeg for part in parts for jpeg in part.jpegs(np.arange(part.num_rows))]
    rows = np.random.default_rng(0).integers(0, joined.num_rows, 100)
    assert joined.jpegs(rows) == [every[row] for row in rows]
    assert [row for shard in joined.shards for row in shard] == list(range(len(every)))
    assert joined.place(train.num_rows + 2) == gallery.place(2)
    with pytest.raises(IndexError, match=rf"row {len(every)} is not in \[0, {len(every)}\)"):
        joined.jpegs(np.array([0, len(every)]))


def test_joined_tables_share_no_camera(parts: list[ImageTable]) -> None:
    cameras = known(ImageTable.joined(parts).cameras)
    of_parts = np.split(cameras, [parts[0].num_rows])
    assert not set(of_parts[0]) & set(of_parts[1])
    for numbered, part in zip(of_parts, parts, strict=True):
        cameras = known(part.cameras)
        pairs = set(zip(numbered.tolist(), cameras.tolist(), strict=True))
        assert len(pairs) == len(set(numbered.tolist())) == len(set(cameras.tolist()))


def test_cameras_are_unknown_if_one_of_the_joined_tables_does_not_know_them(
    parts: list[ImageTable],
) -> None:
    parts[1].cameras = None
    joined = ImageTable.joined(parts)
    assert joined.cameras is None
    assert joined.tracks is None


def test_columns_are_renumbered_in_their_order() -> None:
    found = numbered_through([np.array([9, 4, 9]), np.array([4, 4]), np.array([1, 0])])
    assert found.tolist() == [1, 0, 1, 2, 2, 4, 3]
    assert numbered_through([]).tolist() == []


def test_every_row_is_the_file_of_its_name(
    plaza: Store, small_market: Path, tmp_path: Path
) -> None:
    where = {
        "manifest": read_manifest(plaza, "plaza"),
        "splits": [Split.QUERY, Split.GALLERY],
        "cache": ShardCache(tmp_path / "cache"),
    }
    images = open_images(plaza, **where)
    names, identities = read_names(plaza, **where), read_identities(plaza, **where)
    assert sorted(names) == [
        f"{folder}/{path.name}"
        for folder in ("bounding_box_test", "query")
        for path in sorted((small_market / folder).glob("*.jpg"))
    ]
    jpegs = images.jpegs(np.arange(images.num_rows))
    for row, name in enumerate(names):
        assert jpegs[row] == (small_market / name).read_bytes()
        identity, rest = name.rpartition("/")[2].split("_c")
        assert int(identity) == identities[row]
        assert rest[0] == str(known(images.cameras)[row])


def test_rows_come_in_the_order_asked_for_and_as_often(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=WHOLE_TRAIN_SPLITS, cache=cache
    )
    every = images.jpegs(np.arange(images.num_rows))
    assert len(set(map(bytes, every))) == 48
    rows = np.random.default_rng(0).integers(0, 48, 200)
    assert images.jpegs(rows) == [every[row] for row in rows]
    assert images.jpegs(np.empty(0, np.int64)) == []


def test_shards_are_consecutive_rows(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=WHOLE_TRAIN_SPLITS, cache=cache
    )
    assert len(images.shards) > 3
    assert [row for shard in images.shards for row in shard] == list(range(48))


def test_an_image_is_a_view_that_outlives_the_table(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=[Split.QUERY], cache=cache
    )
    (view,) = images.jpegs(np.array([3]))
    copy = bytes(view)
    assert isinstance(view, memoryview)
    assert view.readonly
    del images
    assert view == copy


@pytest.mark.parametrize("row", [-1, 12, 10**9])
def test_a_row_that_is_not_there_is_refused(plaza: Store, tmp_path: Path, row: int) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=[Split.QUERY], cache=cache
    )
    with pytest.raises(IndexError, match=rf"row {row} is not in \[0, 12\)"):
        images.jpegs(np.array([3, row]))


def test_no_splits_are_no_rows(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(plaza, manifest=read_manifest(plaza, "plaza"), splits=[], cache=cache)
    assert (images.num_rows, known(images.cameras).shape) == (0, (0,))
    assert read_identities(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=[], cache=cache
    ).shape == (0,)


def test_threads_read_the_same_images(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=[Split.GALLERY], cache=cache
    )
    expected = images.jpegs(np.arange(images.num_rows))
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            parts = np.arange(images.num_rows).reshape(-1, 3)
            assert [jpeg for part in pool.map(images.jpegs, parts) for jpeg in part] == expected


def test_images_are_read_without_their_labels(plaza: Store, tmp_path: Path) -> None:
    for key in plaza.list():
        if "labels" in key:
            plaza.delete(key)
    cache = ShardCache(tmp_path / "cache")
    images = open_images(
        plaza, manifest=read_manifest(plaza, "plaza"), splits=WHOLE_TRAIN_SPLITS, cache=cache
    )
    assert images.num_rows == 48
    with pytest.raises(ShardError, match=r"labels.*is missing"):
        read_identities(
            plaza, manifest=read_manifest(plaza, "plaza"), splits=WHOLE_TRAIN_SPLITS, cache=cache
        )


def test_labels_are_those_of_the_images_even_if_another_import_came_between(
    plaza: Store, small_market: Path, tmp_path: Path
) -> None:
    where = {"splits": WHOLE_TRAIN_SPLITS, "cache": ShardCache(tmp_path / "cache")}
    first = read_manifest(plaza, "plaza")
    before = read_identities(plaza, manifest=first, **where)
    images = open_images(plaza, manifest=first, **where)
    # As many images of the same people, in another order.
    index = read_layout("market1501", small_market)
    import_domain(index, domain="plaza", to=plaza, validation_share=0.5)
    after = read_identities(plaza, manifest=read_manifest(plaza, "plaza"), **where)
    assert len(after) == images.num_rows
    assert after.tolist() != before.tolist()
    assert read_identities(plaza, manifest=first, **where).tolist() == before.tolist()


def test_a_flipped_byte_is_found_when_its_image_is_used(plaza: Store, tmp_path: Path) -> None:
    where = {
        "manifest": read_manifest(plaza, "plaza"),
        "splits": [Split.QUERY],
        "cache": ShardCache(tmp_path / "cache"),
    }
    (jpeg,) = open_images(plaza, **where).jpegs(np.array([7]))
    (key,) = [key for key in plaza.list("plaza/query-0") if bytes(jpeg) in plaza.read(key)]
    data = plaza.read(key)
    at = data.index(bytes(jpeg)) + len(jpeg) // 2
    plaza.write(key, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    images = open_images(plaza, **where)
    assert len(images.jpegs(np.array([6, 8]))) == 2
    for _ in range(2):
        with pytest.raises(
            ShardError, match=rf"row \d+ of shard {key} is damaged in .*data verify to find"
        ):
            images.jpegs(np.array([6, 7]))


@pytest.mark.parametrize("change", ["removed", "cut"])
def test_a_shard_that_is_not_whole_is_named_at_once(
    plaza: Store, tmp_path: Path, change: str
) -> None:
    key = plaza.list("plaza/query-0")[0]
    data = plaza.read(key)
    plaza.delete(key)
    if change == "cut":
        plaza.write(key, data[:-1])
    with pytest.raises(
        ShardError, match=rf"shard {key} is (missing|damaged).*(import the domain|how to repair)"
    ):
        open_images(
            plaza,
            manifest=read_manifest(plaza, "plaza"),
            splits=[Split.QUERY],
            cache=ShardCache(tmp_path / "cache"),
        )


def test_a_damaged_index_is_refused(plaza: Store, tmp_path: Path) -> None:
    key = plaza.list("plaza/query-index")[0]
    data = plaza.read(key)
    plaza.write(key, data[:-9] + b"x" + data[-8:])
    with pytest.raises(ShardError, match=rf"{key} is damaged"):
        open_images(
            plaza,
            manifest=read_manifest(plaza, "plaza"),
            splits=[Split.QUERY],
            cache=ShardCache(tmp_path / "cache"),
        )


def test_opening_a_domain_imports_no_pandas(plaza: Store, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from daam.dataset.cache import ShardCache
from daam.dataset.reading.image_table import ImageTable, numbered_through, open_images
from daam.dataset.reading.labels import read_identities
from daam.dataset.format.manifest import read_manifest
from daam.domains import Split
from daam.storage import open_store
store = open_store({str(plaza.uri)!r})
rows = {{"manifest": read_manifest(store, "plaza"), "splits": [Split.TRAIN]}}
cache = ShardCache(Path({str(tmp_path / "cache")!r}))
images = open_images(store, **rows, cache=cache)
assert len(read_identities(store, **rows, cache=cache)) == images.num_rows > 0
print("pandas" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
