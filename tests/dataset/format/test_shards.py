"""Shards are plain Arrow files, the same for the same input, and refused when they are not ours."""

import hashlib
import os
import random
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from daam.dataset.format.manifest import ShardEntry
from daam.dataset.format.shards import (
    BATCH_SIZE_BYTES,
    IMAGE_SCHEMA,
    INDEX_SCHEMA,
    LABEL_SCHEMA,
    WrittenShard,
    index_of,
    open_shard,
    write_image_shards,
    write_index,
    write_labels,
)
from daam.domains import Split
from daam.errors import ConfigError, ShardError


def write(
    images: list[tuple[bytes, int]], *, folder: Path, shard_size_bytes: int
) -> list[WrittenShard]:
    folder.mkdir()
    shards = write_image_shards(
        images,
        domain="plaza",
        split=Split.TRAIN,
        folder=folder,
        shard_size_bytes=shard_size_bytes,
    )
    return list(shards)


def random_images(sizes: list[int]) -> list[tuple[bytes, int]]:
    generator = random.Random(0)
    return [(generator.randbytes(size), generator.randint(1, 15)) for size in sizes]


@pytest.mark.parametrize(
    ("sizes", "shard_size_bytes", "rows_in_shards"),
    [
        ([10, 10, 10], 30, [3]),
        ([10, 10, 11], 30, [2, 1]),
        ([50, 10, 10, 50], 30, [1, 2, 1]),
        ([0, 0, 30, 0, 1], 30, [4, 1]),
        ([], 30, []),
    ],
)
def test_images_go_into_shards_in_order(
    tmp_path: Path, sizes: list[int], shard_size_bytes: int, rows_in_shards: list[int]
) -> None:
    images = random_images(sizes)
    shards = write(images, folder=tmp_path / "a", shard_size_bytes=shard_size_bytes)
    assert [shard.entry.num_rows for shard in shards] == rows_in_shards
    rows = [
        row
        for shard in shards
        for row in open_shard(shard.path, entry=shard.entry, schema=IMAGE_SCHEMA).to_pylist()
    ]
    assert rows == [
        {"row": row, "image": jpeg, "camera": camera} for row, (jpeg, camera) in enumerate(images)
    ]


def test_a_shard_is_cut_into_record_batches(tmp_path: Path) -> None:
    images = random_images([BATCH_SIZE_BYTES // 2] * 5)
    (shard,) = write(images, folder=tmp_path / "a", shard_size_bytes=1 << 30)
    with pa.OSFile(str(shard.path)) as file:
        assert pa.ipc.open_file(file).num_record_batches == 3


def test_the_entry_tells_the_bytes_and_the_key_their_digest(tmp_path: Path) -> None:
    for shard in write(random_images([20] * 4), folder=tmp_path / "a", shard_size_bytes=40):
        data = shard.path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        assert (shard.entry.sha256, shard.entry.size_bytes) == (digest, len(data))
        assert shard.entry.key == f"plaza/{shard.path.stem}-{digest[:16]}.arrow"


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    images = random_images([1000] * 9)
    first = write(images, folder=tmp_path / "a", shard_size_bytes=4000)
    second = write(images, folder=tmp_path / "b", shard_size_bytes=4000)
    assert [shard.entry for shard in first] == [shard.entry for shard in second]


def test_the_index_says_where_in_its_file_each_image_is(tmp_path: Path) -> None:
    images = random_images([BATCH_SIZE_BYTES // 2, 7, BATCH_SIZE_BYTES, 0, 1, 300])
    shards = write(images, folder=tmp_path / "a", shard_size_bytes=BATCH_SIZE_BYTES + 1)
    assert [shard.entry.num_rows for shard in shards] == [2, 3, 1]
    index = write_index(
        [index_of(shard.path) for shard in shards],
        domain="plaza",
        split=Split.TRAIN,
        folder=tmp_path,
    )
    assert index.entry.key.startswith("plaza/train-index-")
    table = open_shard(index.path, entry=index.entry, schema=INDEX_SCHEMA)
    assert [len(chunk) for chunk in table["crc32"].chunks] == [2, 3, 1]
    files = [shard.path.read_bytes() for shard in shards for _ in range(shard.entry.num_rows)]
    for file, place, (jpeg, camera) in zip(files, table.to_pylist(), images, strict=True):
        assert file[place["offset"] :][: place["size"]] == jpeg
        assert (place["camera"], place["crc32"]) == (camera, zlib.crc32(jpeg))


def test_a_shard_beyond_the_reach_of_the_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="4,000,000,000 bytes are too large"):
        write([], folder=tmp_path / "a", shard_size_bytes=4_000_000_000)


def test_image_shards_say_nothing_of_identities() -> None:
    assert IMAGE_SCHEMA.names == ["row", "image", "camera"]


def test_labels_are_written_in_order(tmp_path: Path) -> None:
    labels = [(3, "c"), (-1, "ä"), (0, "b")]
    shard = write_labels(labels, domain="plaza", split=Split.GALLERY, folder=tmp_path)
    table = open_shard(shard.path, entry=shard.entry, schema=LABEL_SCHEMA)
    assert table.to_pylist() == [
        {"row": row, "identity": identity, "name": name}
        for row, (identity, name) in enumerate(labels)
    ]
    assert shard.entry.key.startswith("plaza/gallery-labels-")


def test_a_file_that_is_no_such_shard_is_refused(tmp_path: Path) -> None:
    (shard,) = write(random_images([10]), folder=tmp_path / "a", shard_size_bytes=100)
    fewer = ShardEntry(key="k", num_rows=2, size_bytes=1, sha256="")
    with pytest.raises(ShardError, match="1 rows"):
        open_shard(shard.path, entry=fewer, schema=IMAGE_SCHEMA)
    with pytest.raises(ShardError, match="identity"):
        open_shard(shard.path, entry=shard.entry, schema=LABEL_SCHEMA)
    shard.path.write_bytes(os.urandom(500))
    with pytest.raises(ShardError, match="no valid Arrow file"):
        open_shard(shard.path, entry=shard.entry, schema=IMAGE_SCHEMA)
