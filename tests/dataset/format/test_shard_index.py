"""An index tells where the images are, and one that cannot be that of its shards is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from daam.dataset.format.manifest import ShardEntry
from daam.dataset.format.shard_index import ShardIndex, read_index
from daam.dataset.format.shards import PLACE_SCHEMA, write_index
from daam.domains import Split
from daam.errors import ShardError
from tests.support.known import known


def shard(*, num_rows: int) -> ShardEntry:
    return ShardEntry(key="plaza/train-0.arrow", num_rows=num_rows, size_bytes=100, sha256="a" * 64)


def index_in(
    folder: Path, *, offsets: list[int], sizes: list[int], shards: list[ShardEntry]
) -> tuple[ShardIndex, ...]:
    number = range(len(sizes))
    batch = pa.record_batch([number, offsets, sizes, number], schema=PLACE_SCHEMA)
    written = write_index([batch], domain="plaza", split=Split.TRAIN, folder=folder)
    return read_index(written.path, entry=written.entry, shards=shards)


def test_an_index_has_the_place_and_the_checksum_of_each_image(tmp_path: Path) -> None:
    (index,) = index_in(
        tmp_path, offsets=[10, 15, 20], sizes=[5, 0, 30], shards=[shard(num_rows=3)]
    )
    assert (list(index.offsets), list(index.sizes)) == ([10, 15, 20], [5, 0, 30])
    assert known(index.cameras).dtype == np.int32
    assert list(index.checksums) == list(known(index.cameras)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("offsets", "sizes", "num_rows", "problem"),
    [
        ([10, 14], [5, 5], 2, "overlap"),
        ([20, 10], [5, 5], 2, "overlap"),
        ([10, 90], [5, 11], 2, "outside plaza/train-0"),
        ([10, 2**32 - 1], [5, 2**32 - 1], 2, "outside plaza/train-0"),
        ([10, 20], [5, 5], 3, "other numbers of rows"),
    ],
)
def test_an_index_of_other_shards_is_refused(
    tmp_path: Path, offsets: list[int], sizes: list[int], num_rows: int, problem: str
) -> None:
    with pytest.raises(ShardError, match=rf"train-index.*{problem}.*import the domain again"):
        index_in(tmp_path, offsets=offsets, sizes=sizes, shards=[shard(num_rows=num_rows)])
