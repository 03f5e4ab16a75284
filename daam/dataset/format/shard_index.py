"""The index of a split: where each image lies in its shard, known before any shard is fetched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daam.dataset.format.manifest import ShardEntry
from daam.dataset.format.shards import INDEX_SCHEMA, bad_content, known_numbers, numbers, open_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """The part of the index for one shard's n images, views of its memory-mapped file.

    Attributes:
        entry: the shard.
        cameras: (n,) int32; None: unknown.
        offsets: n numbers, the byte of the shard's file where each JPEG begins.
        sizes: n numbers, bytes of each JPEG.
        checksums: n numbers, the zlib.crc32 of each JPEG.
        tracks: (n,) int32; None: unknown.
        times: (n,) int64; None: unknown.
    """

    entry: ShardEntry
    cameras: np.ndarray | None
    offsets: memoryview
    sizes: memoryview
    checksums: memoryview
    tracks: np.ndarray | None = None
    times: np.ndarray | None = None


def read_index(
    path: Path, *, entry: ShardEntry, shards: Sequence[ShardEntry]
) -> tuple[ShardIndex, ...]:
    """Map an index file.

    Args:
        path: the file, its bytes already verified.
        entry: the index in its manifest.
        shards: those that it describes, in order.

    Raises:
        ShardError: it is not an index of these shards.
    """
    batches = open_shard(path, entry=entry, schema=INDEX_SCHEMA).to_batches()
    if [batch.num_rows for batch in batches] != [shard.num_rows for shard in shards]:
        raise bad_content(entry, "it has other numbers of rows than its shards")
    indexes = [
        ShardIndex(
            entry=shard,
            cameras=known_numbers(batch["camera"], entry=entry),
            offsets=numbers(batch["offset"]).data,
            sizes=numbers(batch["size"]).data,
            checksums=numbers(batch["crc32"]).data,
            tracks=known_numbers(batch["track"], entry=entry),
            times=known_numbers(batch["time"], entry=entry),
        )
        for shard, batch in zip(shards, batches, strict=True)
    ]
    for index in indexes:
        ends = np.asarray(index.offsets) + np.asarray(index.sizes, np.int64)
        if (ends > [*index.offsets[1:], index.entry.size_bytes]).any():
            raise bad_content(entry, f"its images overlap or are outside {index.entry.key}")
    return tuple(indexes)
