"""Images of a domain by row, straight from memory-mapped shards; and who is on them, apart."""

import weakref
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import pyarrow as pa

from daam.dataset.cache import ShardCache
from daam.dataset.cache.fetching import Fetcher
from daam.dataset.cache.filler import Filler
from daam.dataset.cache.shard import CachedShard
from daam.dataset.format.manifest import DomainManifest
from daam.dataset.format.mapped_shard import MappedShard
from daam.dataset.format.shard_index import ShardIndex, read_index
from daam.dataset.format.shards import LABEL_SCHEMA, numbers, open_shard
from daam.domains import Split
from daam.storage import Store


class ImageTable:
    """The images of some splits, rows counted through from 0 in the order of the splits.

    Opening one reads no image. Of a local folder, shards are mapped where they are. Of a remote
    store, an image that is not in the node's cache is fetched when it is asked for, and with the
    first one the rest begins to be fetched in the background, if all shards together fit into the
    cache. If not, images of shards that were not prefetched pass it by. Any number of threads may
    read.

    Attributes:
        num_rows: N.
        cameras: (N,) int32, the camera of each row, as the data set numbers them.
        shards: the rows of each shard, in order.
        size_bytes: of all shards.
        fits_cache: whether all shards can be at hand at once; if not, `prefetch` and `release` say
            which are.
    """

    def __init__(
        self,
        shards: Sequence[MappedShard] | Sequence[CachedShard],
        *,
        indexes: Sequence[ShardIndex],
        fits_cache: bool,
    ) -> None:
        cameras = [index.cameras for index in indexes]
        self.cameras = np.concatenate([np.empty(0, np.int32), *cameras])
        self.num_rows = len(self.cameras)
        starts = np.cumsum([0, *(len(part) for part in cameras)])
        self.shards = tuple(map(range, starts[:-1].tolist(), starts[1:].tolist()))
        self.size_bytes = sum(index.entry.size_bytes for index in indexes)
        self.fits_cache = fits_cache
        self._first_rows = starts[:-1]
        self._shards = tuple(shards)
        self._cached = tuple(shard for shard in shards if isinstance(shard, CachedShard))
        self._fills = False
        self._at_hand: set[CachedShard] = set()
        self._fetcher = Fetcher()
        self._filler = Filler(self._fetcher)
        weakref.finalize(self, self._filler.stop)

    def jpegs(self, rows: np.ndarray) -> list[memoryview]:
        """The JPEGs of rows, in their order and with repeats, without a copy where they are here.

        They stay valid as long as they are held. Each image's checksum is compared the first time
        that this process uses it; one that is wrong in the cache is fetched again.

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
        if missing:
            wanted = [(self._cached[places[at][0]], places[at][1]) for at in missing]
            for at, image in zip(missing, self._fetched(wanted), strict=True):
                images[at] = image
            if self.fits_cache and not self._fills:
                self._fills = True
                self._filler.add(self._cached, is_awaited=True)
        return images

    def place(self, row: int) -> str:
        """Where a row is stored, in words: its row in a shard."""
        number = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        return (
            f"row {row - self._first_rows[number]} of shard {self._shards[number].index.entry.key}"
        )

    def prefetch(self, shard_numbers: Iterable[int]) -> None:
        """Complete shards in the background; returns at once."""
        shards = self._numbered(shard_numbers)
        self._at_hand.update(shards)
        self._filler.add(shards)

    def release(self, shard_numbers: Iterable[int]) -> None:
        """Let shards make room for others; their images that are still held stay valid."""
        shards = self._numbered(shard_numbers)
        self._at_hand.difference_update(shards)
        self._filler.remove(shards)
        for shard in shards:
            shard.release()

    def close(self) -> None:
        """Stop fetching and let all shards make room; the table is of no use afterwards."""
        self._filler.close()
        self._fetcher.close()
        for shard in self._cached:
            shard.release()

    def _fetched(self, places: list[tuple[CachedShard, int]]) -> list[memoryview]:
        if self.fits_cache:
            return self._fetcher.images(places)
        shards = {shard for shard, _ in places}
        try:
            return self._fetcher.images(places, passing=shards - self._at_hand)
        finally:
            # What was let go meanwhile may have been opened after that.
            for shard in shards - self._at_hand:
                shard.release()

    def _numbered(self, shard_numbers: Iterable[int]) -> list[CachedShard]:
        # Shards in a local folder are always at hand: there is nothing to do for them.
        return [self._cached[number] for number in shard_numbers] if self._cached else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_rows


def open_images(
    store: Store, *, manifest: DomainManifest, splits: Sequence[Split], cache: ShardCache
) -> ImageTable:
    """Open the images of splits of a domain; of a remote store, only the index is fetched now.

    Args:
        manifest: of the domain. Whoever reads labels too gives the same one: after another import
            rows are in another order.

    Raises:
        ShardError: the domain has no such split, its index is missing or damaged, or (in a local
            folder) a shard is missing or not whole.
        StorageError: the store cannot be read, or the cache cannot be used.
    """
    contents = [manifest.split(split) for split in splits]
    paths = cache.fetch_all(store, [content.index for content in contents])
    indexes = [
        index
        for path, content in zip(paths, contents, strict=True)
        for index in read_index(path, entry=content.index, shards=content.shards)
    ]
    here = [store.local_path(index.entry.key) for index in indexes]
    mapped = [
        MappedShard(path, index=index)
        for path, index in zip(here, indexes, strict=True)
        if path is not None
    ]
    if mapped:
        return ImageTable(mapped, indexes=indexes, fits_cache=True)
    cache.make_folders()
    size_bytes = sum(index.entry.size_bytes for index in indexes)
    return ImageTable(
        [CachedShard(store, index=index, cache=cache) for index in indexes],
        indexes=indexes,
        fits_cache=cache.capacity_bytes is None or size_bytes <= cache.capacity_bytes,
    )


def read_identities(
    store: Store, *, manifest: DomainManifest, splits: Sequence[Split], cache: ShardCache
) -> np.ndarray:
    """Who is on each row of `open_images` for the same manifest and splits.

    Returns:
        (N,) int64; 0 is a distractor, -1 junk.

    Raises:
        ShardError, StorageError: as `open_images`.
    """
    columns = _read_labels("identity", store, manifest=manifest, splits=splits, cache=cache)
    return np.concatenate([np.empty(0, np.int64), *map(numbers, columns)])


def read_names(
    store: Store, *, manifest: DomainManifest, splits: Sequence[Split], cache: ShardCache
) -> list[str]:
    """The file of each row of `open_images`, relative to the data set, for the same arguments.

    Most data sets spell the identity in the name, so names are kept with the labels.

    Raises:
        ShardError, StorageError: as `open_images`.
    """
    columns = _read_labels("name", store, manifest=manifest, splits=splits, cache=cache)
    return [name for column in columns for name in column.to_pylist()]


def _read_labels(
    column: str,
    store: Store,
    *,
    manifest: DomainManifest,
    splits: Sequence[Split],
    cache: ShardCache,
) -> list[pa.ChunkedArray]:
    entries = [manifest.split(split).labels for split in splits]
    paths = cache.fetch_all(store, entries)
    return [
        open_shard(path, entry=entry, schema=LABEL_SCHEMA, columns=[column])[column]
        for path, entry in zip(paths, entries, strict=True)
    ]
