"""Images of a domain by row, straight from memory-mapped shards; and who is on them, apart."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from daam.data.cache import ShardCache
from daam.data.index import ShardIndex, read_index
from daam.data.manifest import read_manifest
from daam.data.mapped_shard import MappedShard
from daam.data.shards import LABEL_SCHEMA, open_shard
from daam.domains import Split
from daam.storage import Store


class ImageTable:
    """The images of some splits, rows counted through from 0 in the order of the splits.

    Opening one reads no image: pages of a shard come from the disk, or from the page cache that
    all processes of the node share, when a row is asked for. Any number of threads may read.

    Attributes:
        num_rows: N.
        cameras: (N,) int32, the camera of each row, as the data set numbers them.
        shards: the rows of each shard, in order.
    """

    def __init__(self, shards: Sequence[MappedShard], *, indexes: Sequence[ShardIndex]) -> None:
        cameras = [index.cameras for index in indexes]
        self.cameras = np.concatenate([np.empty(0, np.int32), *cameras])
        self.num_rows = len(self.cameras)
        starts = np.cumsum([0, *(len(part) for part in cameras)])
        self.shards = tuple(map(range, starts[:-1].tolist(), starts[1:].tolist()))
        self._first_rows = starts[:-1]
        self._shards = tuple(shards)

    def jpegs(self, rows: np.ndarray) -> list[memoryview]:
        """The JPEGs of rows, in their order and with repeats, without a copy where they are here.

        They stay valid as long as they are held. Each image's checksum is compared the first time
        that this process uses it.

        Raises:
            IndexError: a row is not in [0, N).
            ShardError: an image is not what was imported; the message names its shard.
        """
        outside = rows[(rows < 0) | (rows >= self.num_rows)]
        if len(outside):
            raise IndexError(f"row {outside[0]} is not in [0, {self.num_rows})")
        numbers = np.searchsorted(self._first_rows, rows, side="right") - 1
        places = zip(numbers.tolist(), (rows - self._first_rows[numbers]).tolist(), strict=True)
        shards = self._shards
        return [shards[number].image(row) for number, row in places]

    def __len__(self) -> int:
        return self.num_rows


def open_images(
    store: Store, *, domain: str, splits: Sequence[Split], cache: ShardCache
) -> ImageTable:
    """Open the images of splits of a domain, fetching the shards that are not here yet.

    Raises:
        ShardError: the domain or a split is not in the store, or a shard is missing or damaged.
        StorageError: the store cannot be read.
    """
    manifest = read_manifest(store, domain)
    indexes = [
        index
        for split in map(manifest.split, splits)
        for index in read_index(
            cache.fetch(store, split.index), entry=split.index, shards=split.shards
        )
    ]
    entries = [index.entry for index in indexes]
    here = [path for entry in entries if (path := store.local_path(entry.key)) is not None]
    paths = here or cache.fetch_all(store, entries)
    shards = [MappedShard(path, index=index) for path, index in zip(paths, indexes, strict=True)]
    return ImageTable(shards, indexes=indexes)


def read_identities(
    store: Store, *, domain: str, splits: Sequence[Split], cache: ShardCache
) -> np.ndarray:
    """Who is on each row of `open_images` for the same splits.

    Returns:
        (N,) int64; 0 is a distractor, -1 junk.

    Raises:
        ShardError, StorageError: as `open_images`.
    """
    labels = _read_labels(store, domain=domain, splits=splits, cache=cache)
    return labels["identity"].to_numpy()


def read_names(
    store: Store, *, domain: str, splits: Sequence[Split], cache: ShardCache
) -> list[str]:
    """The file of each row of `open_images` for the same splits, relative to the data set.

    Most data sets spell the identity in the name, so names are kept with the labels.

    Raises:
        ShardError, StorageError: as `open_images`.
    """
    labels = _read_labels(store, domain=domain, splits=splits, cache=cache)
    return labels["name"].to_pylist()


def _read_labels(
    store: Store, *, domain: str, splits: Sequence[Split], cache: ShardCache
) -> pa.Table:
    manifest = read_manifest(store, domain)
    entries = [manifest.split(split).labels for split in splits]
    paths = cache.fetch_all(store, entries)
    tables = [
        open_shard(path, entry=entry, schema=LABEL_SCHEMA)
        for path, entry in zip(paths, entries, strict=True)
    ]
    return pa.concat_tables([LABEL_SCHEMA.empty_table(), *tables])
