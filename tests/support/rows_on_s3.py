"""A domain of random bytes in a store, and programs that read it in processes of their own."""

import hashlib
import os
import subprocess
import sys
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from daam.dataset.format.manifest import (
    DomainManifest,
    ImportSettings,
    ShardEntry,
    SplitManifest,
    manifest_key,
)
from daam.dataset.format.shards import (
    WrittenShard,
    index_of,
    write_image_shards,
    write_index,
    write_labels,
)
from daam.domains import Split
from daam.storage import Store

# Runs in another process: logs which bytes of shards it asks for, and says what it read.
READER = """
import hashlib, os, sys
from pathlib import Path
import numpy as np
from daam.dataset.cache import ShardCache, cached_shard
from daam.dataset.reading.image_table import open_images
from daam.dataset.format.manifest import read_manifest
from daam.domains import Split
from daam.storage import open_store
from daam.storage.s3 import S3Store

uri, cache, log = sys.argv[1:4]
cached_shard.PART_SIZE_BYTES = 40_000
ranged = S3Store.read_range

def read_range(self, key, *, start, size):
    with open(log, "a") as file:
        file.write(f"{key} {start} {size}\\n")
    return ranged(self, key, start=start, size=size)

S3Store.read_range = read_range

def open_rows(capacity_bytes=None):
    store = open_store(uri)
    return open_images(
        store,
        manifest=read_manifest(store, "plaza"),
        splits=[Split.TRAIN],
        cache=ShardCache(Path(cache), capacity_bytes=capacity_bytes),
    )

def prefetch(images):
    images.prefetch(range(len(images.shards)))
    for thread in list(images._fetcher._prefetcher._threads):
        thread.join()

def digest(jpegs):
    return hashlib.sha256(b"".join(jpegs)).hexdigest()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsOnS3:
    """What is in the store, and what every reader must get."""

    store: Store
    jpegs: tuple[bytes, ...]
    split: SplitManifest

    @property
    def num_rows(self) -> int:
        return len(self.jpegs)

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.split.shards)

    def digest(self, rows: np.ndarray) -> str:
        return hashlib.sha256(b"".join(self.jpegs[row] for row in rows)).hexdigest()

    def reader(self, program: str, *, cache: Path, log: Path) -> "subprocess.Popen[str]":
        """Start a process that runs a program after `READER`."""
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                READER + textwrap.dedent(program),
                *(self.store.uri, str(cache), str(log)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def put_rows(
    store: Store,
    *,
    num_rows: int,
    folder: Path,
    sizes_bytes: tuple[int, int] = (0, 4000),
    shard_size_bytes: int | None = None,
) -> RowsOnS3:
    """Publish a domain plaza, of 5 shards or so by default, whose only split is train."""
    shard_size_bytes = shard_size_bytes or 400 * num_rows
    generator = np.random.default_rng(0)
    jpegs = tuple(generator.bytes(int(size)) for size in generator.integers(*sizes_bytes, num_rows))
    where = {"domain": "plaza", "split": Split.TRAIN, "folder": folder}
    indexes = []
    entries: list[ShardEntry] = []

    def publish(file: WrittenShard) -> ShardEntry:
        store.upload(file.path, file.entry.key)
        return file.entry

    images = [(jpeg, 1) for jpeg in jpegs]
    for shard in write_image_shards(images, shard_size_bytes=shard_size_bytes, **where):
        indexes.append(index_of(shard.path))
        entries.append(publish(shard))
    split = SplitManifest(
        num_rows=num_rows,
        num_cameras=1,
        shards=tuple(entries),
        index=publish(write_index(indexes, **where)),
        labels=publish(write_labels([(1, "name")] * num_rows, **where)),
    )
    manifest = DomainManifest(
        domain="plaza",
        layout="market1501",
        settings=ImportSettings(
            validation_share=0.0,
            without_val=False,
            reencoded=None,
            shard_size_bytes=shard_size_bytes,
        ),
        splits={Split.TRAIN: split},
        skipped={},
    )
    store.write(manifest_key("plaza"), manifest.to_json())
    return RowsOnS3(store=store, jpegs=jpegs, split=split)


def ranges_in(log: Path) -> dict[str, list[tuple[int, int]]]:
    """The (start, size) that were asked for, by shard, in order."""
    ranges: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for line in log.read_text().splitlines() if log.exists() else ():
        key, start, size = line.split()
        ranges[key].append((int(start), int(size)))
    return {key: sorted(found) for key, found in ranges.items()}


def no_byte_twice(log: Path) -> bool:
    """Whether no byte of a shard was asked for again."""
    return all(
        start + size <= next_start
        for ranges in ranges_in(log).values()
        for (start, size), (next_start, _) in pairwise(ranges)
    )


def complete_shards(rows: RowsOnS3, cache: Path) -> list[int]:
    """The numbers of the shards of which a cache has every image."""
    return [
        number
        for number, entry in enumerate(rows.split.shards)
        if (file := cache / "shards" / f"{entry.sha256}.images").exists()
        and file.read_bytes()[entry.size_bytes :] == b"\1" * entry.num_rows
    ]
