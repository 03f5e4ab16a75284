"""Shards: Arrow IPC files of images; index and labels in separate files, a manifest per domain.

    {domain}/manifest.json
    {domain}/{split}-00000-{sha256, 16 digits}.arrow          row, image, camera
    {domain}/{split}-index-{sha256, 16 digits}.arrow          camera, offset, size, crc32
    {domain}/{split}-labels-{sha256, 16 digits}.arrow         row, identity, name

The index has for each row its camera, the place of its JPEG in the shard's file, and the JPEG's
zlib.crc32: a reader knows all cameras, and which bytes to request, before it has any shard. It has
one record batch per shard.

An image shard holds nothing that identifies people. Identities and file names (which spell the
identity in most data sets) are in the labels file, which a run with the domain as its unlabelled
target never opens; and rows are in the order of a hash, so that neighbours are no hint. Images are
stored as they are, uncompressed, so that a reader can memory-map a shard and slice it. Everything
is a function of the data set alone: the same input gives the same bytes and keys.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from daam.dataset.format.manifest import ShardEntry
from daam.domains import Split
from daam.errors import ConfigError, ShardError

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("camera", pa.int32(), nullable=False),
    ]
)
INDEX_SCHEMA = pa.schema(
    [
        pa.field("camera", pa.int32(), nullable=False),
        pa.field("offset", pa.uint32(), nullable=False),
        pa.field("size", pa.uint32(), nullable=False),
        pa.field("crc32", pa.uint32(), nullable=False),
    ]
)
LABEL_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("identity", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
    ]
)
Item = TypeVar("Item")

BATCH_SIZE_BYTES = 4 << 20
LABELS_PER_BATCH = 1 << 16
# Offsets of 32 bits reach the end of every shard.
MAX_SHARD_SIZE_BYTES = 2 << 30
DIGEST_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenShard:
    """A shard on local disk, and its entry for the manifest."""

    path: Path
    entry: ShardEntry


def write_image_shards(
    images: Iterable[tuple[bytes, int]],
    *,
    domain: str,
    split: Split,
    folder: Path,
    shard_size_bytes: int,
) -> Iterator[WrittenShard]:
    """Write images to shards, yielding each once it is complete; one is in memory at a time.

    Args:
        images: (JPEG, camera) in the order of the rows.
        folder: where the files go; the caller uploads and removes them.
        shard_size_bytes: most JPEG bytes in a shard, up to 2 GiB; a larger image makes a shard
            of its own.

    Raises:
        ConfigError: `shard_size_bytes` is too large.
    """
    if shard_size_bytes > MAX_SHARD_SIZE_BYTES:
        raise ConfigError(
            f"shards of {shard_size_bytes:,} bytes are too large; {MAX_SHARD_SIZE_BYTES:,} is most"
        )
    first_row = 0
    for index, shard in enumerate(_grouped(images, size_bytes=shard_size_bytes)):
        name = f"{split}-{index:05d}"
        path = folder / f"{name}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, IMAGE_SCHEMA) as writer:
            row = first_row
            for batch in _grouped(shard, size_bytes=BATCH_SIZE_BYTES):
                jpegs, cameras = zip(*batch, strict=True)
                rows = range(row, row + len(batch))
                writer.write(pa.record_batch([rows, jpegs, cameras], schema=IMAGE_SCHEMA))
                row += len(batch)
        yield _written(path, domain=domain, name=name, num_rows=len(shard))
        first_row = row


def index_of(path: Path) -> pa.RecordBatch:
    """The rows of the index for a shard's images, from its file."""
    with pa.memory_map(str(path)) as source:
        file = source.read_buffer()
        parts = [
            _index_of_batch(batch, file=file)
            for batch in pa.ipc.open_file(file).read_all().to_batches()
        ]
    return pa.concat_batches(parts)


def write_index(
    shards: Iterable[pa.RecordBatch], *, domain: str, split: Split, folder: Path
) -> WrittenShard:
    """Write the index of a split from the `index_of` each of its shards, in order."""
    name = f"{split}-index"
    path = folder / f"{name}.arrow"
    num_rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
        for shard in shards:
            writer.write(shard)
            num_rows += shard.num_rows
    return _written(path, domain=domain, name=name, num_rows=num_rows)


def write_labels(
    labels: Iterable[tuple[int, str]], *, domain: str, split: Split, folder: Path
) -> WrittenShard:
    """Write the labels of a split: (identity, name) in the order of the rows."""
    name = f"{split}-labels"
    path = folder / f"{name}.arrow"
    # Unlike images, names shrink to a quarter; a run waits for this file before its first batch.
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, LABEL_SCHEMA, options=options) as writer,
    ):
        num_rows = 0
        for batch in in_groups(labels, size=LABELS_PER_BATCH):
            identities, names = zip(*batch, strict=True)
            rows = range(num_rows, num_rows + len(batch))
            writer.write(pa.record_batch([rows, identities, names], schema=LABEL_SCHEMA))
            num_rows += len(batch)
    return _written(path, domain=domain, name=name, num_rows=num_rows)


def open_shard(
    path: Path, *, entry: ShardEntry, schema: pa.Schema, columns: Sequence[str] | None = None
) -> pa.Table:
    """Memory-map a shard; its bytes are read from the disk when they are used.

    Args:
        path: the file.
        entry: of the shard in its manifest.
        schema: that it must have.
        columns: which to read, in the order of the schema; None: all. Compressed columns are read
            into memory at once.

    Raises:
        ShardError: it is no Arrow file, or has other columns or rows than its manifest says.
    """
    try:
        with pa.memory_map(str(path)) as source:
            found = pa.ipc.open_file(source).schema
            fields = None if columns is None else [schema.get_field_index(name) for name in columns]
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            table = pa.ipc.open_file(source, options=options).read_all()
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"shard {entry.key} ({path}) is no Arrow file: {error}") from error
    if not found.equals(schema) or table.num_rows != entry.num_rows:
        raise ShardError(
            f"shard {entry.key} ({path}) has columns {found.names} and {table.num_rows} "
            f"rows, not {schema.names} and {entry.num_rows} as its manifest says; import the "
            "domain again"
        )
    return table


def numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A column of numbers without nulls as an array; without a copy if it is in one chunk.

    pyarrow's own `to_numpy` imports pandas: half a second, and memory in each process.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole)


def in_groups(items: Iterable[Item], *, size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def _index_of_batch(batch: pa.RecordBatch, *, file: pa.Buffer) -> pa.RecordBatch:
    images = batch["image"]
    _, offsets, data = images.buffers()
    # A batch without any bytes has no buffer for them.
    first = data.address - file.address if data is not None else 0
    bounds = np.frombuffer(offsets, np.int32)[images.offset :][: len(images) + 1].astype(np.int64)
    crcs = [zlib.crc32(image.as_buffer()) for image in images]
    return pa.record_batch(
        [
            batch["camera"],
            pa.array(first + bounds[:-1], pa.uint32()),
            pa.array(np.diff(bounds), pa.uint32()),
            pa.array(crcs, pa.uint32()),
        ],
        schema=INDEX_SCHEMA,
    )


def _grouped(
    images: Iterable[tuple[bytes, int]], *, size_bytes: int
) -> Iterator[list[tuple[bytes, int]]]:
    group: list[tuple[bytes, int]] = []
    total = 0
    for jpeg, camera in images:
        if group and total + len(jpeg) > size_bytes:
            yield group
            group, total = [], 0
        group.append((jpeg, camera))
        total += len(jpeg)
    if group:
        yield group


def _written(path: Path, *, domain: str, name: str, num_rows: int) -> WrittenShard:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenShard(
        path=path,
        entry=ShardEntry(
            key=f"{domain}/{name}-{digest[:DIGEST_DIGITS]}.arrow",
            num_rows=num_rows,
            size_bytes=path.stat().st_size,
            sha256=digest,
        ),
    )
