"""Images of one or more domains by row: mapped where they are, or through the node's cache."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Self

import numpy as np

from daam.dataset.cache import ShardCache
from daam.dataset.cache.cached_shard import CachedShard
from daam.dataset.cache.fetcher import Fetcher
from daam.dataset.cache.shard_file import cached_size_bytes
from daam.dataset.cache.traffic import TRAFFIC
from daam.dataset.format.manifest import DomainManifest, ShardEntry
from daam.dataset.format.mapped_shard import MappedShard
from daam.dataset.format.shard_index import read_index
from daam.domains import Split
from daam.storage import Store


class ImageTable:
    """The images of some splits, rows numbered from 0 in the order of the splits.

    Opening one reads no image. Shards in a local folder are mapped where they are. An image of a
    remote store that is not in the node's cache is fetched when it is read. Any number of threads
    may read.

    Attributes:
        num_rows: N.
        cameras: (N,) int32, the camera of each row, as the data set numbers them; None: unknown.
        tracks: (N,) int32, the track of each row; None: unknown.
        times: (N,) int64, when each image was taken: the data set's own count, or microseconds
            since 1970 (UTC); None: unknown.
        shards: the rows of each shard, in order.
    """

    def __init__(
        self,
        shards: Sequence[MappedShard | CachedShard],
        *,
        fetcher: Fetcher | None,
    ) -> None:
        """
        Args:
            shards: of the splits, in order.
            fetcher: of the same shards; None if all are mapped.
        """
        indexes = [shard.index for shard in shards]
        self.cameras = _column([index.cameras for index in indexes], dtype=np.int32)
        self.tracks = _column([index.tracks for index in indexes], dtype=np.int32)
        self.times = _column([index.times for index in indexes], dtype=np.int64)
        self.shards = rows_of_shards([index.entry for index in indexes])
        self.num_rows = self.shards[-1].stop if self.shards else 0
        self._first_rows = np.array([rows.start for rows in self.shards], np.int64)
        self._shards = tuple(shards)
        self._fetcher = fetcher

    @classmethod
    def joined(cls, tables: Sequence["ImageTable"]) -> Self:
        """The tables of several domains as one, such as the sources of a transfer.

        Rows and shards are numbered through, and no two tables share a camera or a track. It takes
        the place of the tables, which are all local or all remote.
        """
        shards = [shard for table in tables for shard in table._shards]
        fetchers = [table._fetcher for table in tables if table._fetcher is not None]
        remote = [shard for shard in shards if isinstance(shard, CachedShard)]
        keeps_all = all(fetcher.keeps_all for fetcher in fetchers)
        fetcher = Fetcher(remote, keeps_all=keeps_all) if remote else None
        joined = cls(shards, fetcher=fetcher)
        joined.cameras = _numbered_if_known([table.cameras for table in tables])
        joined.tracks = _numbered_if_known([table.tracks for table in tables])
        return joined

    def jpegs(self, rows: np.ndarray) -> list[memoryview]:
        """The JPEGs of rows, in their order and with repeats, without a copy if they are cached.

        They stay valid as long as they are held. Each image's checksum is compared the first time
        that this process reads it; one that is damaged in the cache is fetched again.

        Raises:
            IndexError: a row is not in [0, N).
            ShardError: an image is not what was imported; the message names its row and shard.
            StorageError: the store cannot be read, or the cache cannot be used.
        """
        outside = rows[(rows < 0) | (rows >= self.num_rows)]
        if len(outside):
            raise IndexError(f"row {outside[0]} is not in [0, {self.num_rows})")
        numbers = np.searchsorted(self._first_rows, rows, side="right") - 1
        places = list(
            zip(numbers.tolist(), (rows - self._first_rows[numbers]).tolist(), strict=True)
        )
        shards = self._shards
        images = [shards[number].image(row) for number, row in places]
        missing = [at for at, image in enumerate(images) if image is None]
        TRAFFIC.num_images += len(images)
        TRAFFIC.num_missing += len(missing)
        if missing and self._fetcher is not None:
            fetched = self._fetcher.images([places[at] for at in missing])
            for at, image in zip(missing, fetched, strict=True):
                images[at] = image
        return images

    def place(self, row: int) -> str:
        """Where a row is stored, in words: its row in a shard."""
        number = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        return (
            f"row {row - self._first_rows[number]} of shard {self._shards[number].index.entry.key}"
        )

    def prefetch(self, shard_numbers: Iterable[int]) -> None:
        """Fetch the rest of some shards in the background; returns at once."""
        if self._fetcher is not None:
            self._fetcher.prefetch(shard_numbers)

    def release(self, shard_numbers: Iterable[int]) -> None:
        """Let shards be evicted if the cache does not hold all of them; images stay valid."""
        if self._fetcher is not None:
            self._fetcher.release(shard_numbers)

    def close(self) -> None:
        """Stop fetching and release all shards; the table cannot be used afterwards."""
        if self._fetcher is not None:
            self._fetcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_rows


def open_images(
    store: Store,
    *,
    manifest: DomainManifest,
    splits: Sequence[Split],
    cache: ShardCache,
    only_prefetched: bool = False,
) -> ImageTable:
    """Open the images of splits of a domain; of a remote store, only the index is fetched now.

    Args:
        manifest: of the domain. Read its labels with the same one: after another import, rows are
            in another order.
        only_prefetched: make room in the cache for prefetched shards alone, as for images that are
            more than it holds: other images are read from the store each time.

    Raises:
        ShardError: the domain has no such split, its index is missing or damaged, or (in a local
            folder) a shard is missing or truncated.
        StorageError: the store cannot be read, or the cache cannot be used.
    """
    contents = [manifest.split(split) for split in splits]
    paths = cache.fetch_all(store, [content.index for content in contents])
    indexes = [
        index
        for path, content in zip(paths, contents, strict=True)
        for index in read_index(path, entry=content.index, shards=content.shards)
    ]
    local = [store.local_path(index.entry.key) for index in indexes]
    mapped = [
        MappedShard(path, index=index)
        for path, index in zip(local, indexes, strict=True)
        if path is not None
    ]
    if mapped:
        return ImageTable(mapped, fetcher=None)
    size_bytes = sum(cached_size_bytes(index.entry) for index in indexes)
    fits = cache.capacity_bytes is None or size_bytes <= cache.capacity_bytes
    shards = [CachedShard(store, index=index, cache=cache) for index in indexes]
    return ImageTable(shards, fetcher=Fetcher(shards, keeps_all=fits and not only_prefetched))


def _column(parts: Sequence[np.ndarray | None], *, dtype: type[np.integer]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate([np.empty(0, dtype), *known]) if len(known) == len(parts) else None


def rows_of_shards(entries: Sequence[ShardEntry]) -> tuple[range, ...]:
    """The rows of each of some shards, numbered from 0 in their order."""
    ends = accumulate((entry.num_rows for entry in entries), initial=0)
    return tuple(range(first, end) for first, end in pairwise(ends))


def numbered_through(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate columns of numbers, renumbered from 0 so that no two columns share one.

    Their order within a column is kept.
    """
    renumbered = [np.empty(0, np.int64)]
    num_before = 0
    for column in columns:
        known, numbers = np.unique(column, return_inverse=True)
        renumbered.append(numbers + num_before)
        num_before += len(known)
    return np.concatenate(renumbered)


def _numbered_if_known(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [column for column in columns if column is not None]
    return numbered_through(known) if len(known) == len(columns) else None
