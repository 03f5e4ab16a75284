"""Rows of images are those that were imported, whatever the shards, and cost no copy."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from daam.data import shards
from daam.data.cache import ShardCache
from daam.data.images import ImageTable, open_images, read_identities, read_names
from daam.data.importing import import_domain
from daam.data.layouts import read_layout
from daam.domains import WHOLE_TRAIN_SPLITS, Split
from daam.errors import ShardError
from daam.storage import Store, open_store


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
    together = open_images(plaza, domain="plaza", splits=WHOLE_TRAIN_SPLITS, cache=cache)
    identities = read_identities(plaza, domain="plaza", splits=WHOLE_TRAIN_SPLITS, cache=cache)
    names = read_names(plaza, domain="plaza", splits=WHOLE_TRAIN_SPLITS, cache=cache)
    assert together.num_rows == len(together) == len(identities) == len(names) == 48
    assert (together.cameras.dtype, identities.dtype) == (np.int32, np.int64)
    row = 0
    for split in WHOLE_TRAIN_SPLITS:
        alone = open_images(plaza, domain="plaza", splits=[split], cache=cache)
        for split_row in range(alone.num_rows):
            assert together.jpeg(row) == alone.jpeg(split_row)
            assert together.cameras[row] == alone.cameras[split_row]
            row += 1
    assert row == 48


def test_every_row_is_the_file_of_its_name(
    plaza: Store, small_market: Path, tmp_path: Path
) -> None:
    where = {
        "domain": "plaza",
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
    for row, name in enumerate(names):
        assert images.jpeg(row) == (small_market / name).read_bytes()
        identity, rest = name.rpartition("/")[2].split("_c")
        assert int(identity) == identities[row]
        assert rest[0] == str(images.cameras[row])


def test_slices_of_arrow_tables_keep_their_rows() -> None:
    jpegs = [bytes([number]) * number for number in range(10)]
    table = pa.table(
        {"row": range(10), "image": pa.array(jpegs, pa.binary()), "camera": [1] * 10},
        schema=shards.IMAGE_SCHEMA,
    )
    images = ImageTable([table.slice(3, 4), table.slice(0, 2), table.slice(9)])
    assert [bytes(images.jpeg(row)) for row in range(7)] == jpegs[3:7] + jpegs[0:2] + jpegs[9:]


def test_an_image_is_a_view_that_outlives_the_table(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(plaza, domain="plaza", splits=[Split.QUERY], cache=cache)
    view = images.jpeg(3)
    copy = bytes(view)
    assert isinstance(view, memoryview)
    assert view.readonly
    del images
    assert view == copy


@pytest.mark.parametrize("row", [-1, 12, 10**9])
def test_a_row_that_is_not_there_is_refused(plaza: Store, tmp_path: Path, row: int) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(plaza, domain="plaza", splits=[Split.QUERY], cache=cache)
    with pytest.raises(IndexError, match=rf"row {row} is not in \[0, 12\)"):
        images.jpeg(row)


def test_no_splits_are_no_rows(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(plaza, domain="plaza", splits=[], cache=cache)
    assert (images.num_rows, images.cameras.shape) == (0, (0,))
    assert read_identities(plaza, domain="plaza", splits=[], cache=cache).shape == (0,)


def test_threads_read_the_same_images(plaza: Store, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    images = open_images(plaza, domain="plaza", splits=[Split.GALLERY], cache=cache)
    expected = [bytes(images.jpeg(row)) for row in range(images.num_rows)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            assert list(pool.map(lambda row: bytes(images.jpeg(row)), range(30))) == expected


def test_images_are_read_without_their_labels(plaza: Store, tmp_path: Path) -> None:
    for key in plaza.list():
        if "labels" in key:
            plaza.delete(key)
    cache = ShardCache(tmp_path / "cache")
    images = open_images(plaza, domain="plaza", splits=WHOLE_TRAIN_SPLITS, cache=cache)
    assert images.num_rows == 48
    with pytest.raises(ShardError, match=r"labels.*is missing"):
        read_identities(plaza, domain="plaza", splits=WHOLE_TRAIN_SPLITS, cache=cache)


def test_a_flipped_byte_is_found_before_any_image_is_read(plaza: Store, tmp_path: Path) -> None:
    key = next(key for key in plaza.list() if "query-00000" in key and "validation" not in key)
    data = bytearray(plaza.read(key))
    data[len(data) // 2] ^= 1
    plaza.write(key, bytes(data))
    with pytest.raises(ShardError, match=key):
        open_images(
            plaza, domain="plaza", splits=[Split.QUERY], cache=ShardCache(tmp_path / "cache")
        )
