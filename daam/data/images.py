"""Images of a domain by row, straight from memory-mapped shards; and who is on them, apart."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from daam.data.cache import ShardCache
from daam.data.manifest import read_manifest
from daam.data.shards import IMAGE_SCHEMA, LABEL_SCHEMA, open_shard
from daam.domains import Split
from daam.storage import Store


class ImageTable:
    """The images of some splits, rows counted through from 0 in the order of the splits.

    Opening one reads no image: pages of a shard come from the disk, or from the page cache that
    all processes of the node share, when a row is asked for. Any number of threads may read.

    Attributes:
        num_rows: N.
        cameras: (N,) int32, the camera of each row, as the data set numbers them.
    """

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        self.num_rows = sum(table.num_rows for table in tables)
        self.cameras = np.concatenate(
            [np.empty(0, np.int32), *(table["camera"].to_numpy() for table in tables)]
        )
        self._images = [_ImageColumn(chunk) for table in tables for chunk in table["image"].chunks]
        self._first_rows = [0, *np.cumsum([len(images) for images in self._images]).tolist()][:-1]

    def jpeg(self, row: int) -> memoryview:
        """The JPEG of a row, without a copy; it stays valid as long as it is held.

        Raises:
            IndexError: row is not in [0, N).
        """
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row {row} is not in [0, {self.num_rows})")
        column = bisect_right(self._first_rows, row) - 1
        return self._images[column].jpeg(row - self._first_rows[column])

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
    entries = [entry for split in splits for entry in manifest.split(split).shards]
    paths = cache.fetch_all(store, entries)
    return ImageTable(
        [
            open_shard(path, entry=entry, schema=IMAGE_SCHEMA)
            for path, entry in zip(paths, entries, strict=True)
        ]
    )


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


class _ImageColumn:
    """One record batch's images. Slicing its two buffers takes a microsecond, `pa.Table.take` a
    hundred times that."""

    def __init__(self, column: pa.BinaryArray) -> None:
        _, offsets, data = column.buffers()
        self._offsets = memoryview(offsets).cast("B").cast("i")[column.offset :]
        self._data = memoryview(data).cast("B")  # decoders want unsigned bytes
        self._num_images = len(column)

    def __len__(self) -> int:
        return self._num_images

    def jpeg(self, index: int) -> memoryview:
        return self._data[self._offsets[index] : self._offsets[index + 1]]


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
