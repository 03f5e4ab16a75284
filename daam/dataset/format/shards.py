"""Shards: Arrow IPC files of images; index and labels in separate files, a manifest per domain.

    {domain}/manifest.json
    {domain}/{split}-00000-{sha256, 16 digits}.arrow          row, image, camera
    {domain}/{split}-index-{sha256, 16 digits}.arrow          camera, offset, size, crc32, track,
                                                              time
    {domain}/{split}-labels-{sha256, 16 digits}.arrow         row, identity, name

The index has for each row its camera, the place of its JPEG in the shard's file, the JPEG's
zlib.crc32, its track and its time: a reader knows all of these, and which bytes to request, before
it has any shard. It has one record batch per shard.

Camera, track, time and identity are each known for all images of a split or for none; an unknown
one is null. Files of format version 2, where cameras and identities were always known and there
were no tracks or times, are still read.

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

from daam.dataset.format.arrow_file import read_table
from daam.dataset.format.download import BadFileError
from daam.dataset.format.manifest import ShardEntry
from daam.domains import Split
from daam.errors import ConfigError

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("camera", pa.int32()),
    ]
)
INDEX_SCHEMA = pa.schema(
    [
        pa.field("camera", pa.int32()),
        pa.field("offset", pa.uint32(), nullable=False),
        pa.field("size", pa.uint32(), nullable=False),
        pa.field("crc32", pa.uint32(), nullable=False),
        pa.field("track", pa.int32()),
        pa.field("time", pa.int64()),
    ]
)
# What `index_of` reads from a shard's file; tracks and times are not in it.
PLACE_SCHEMA = pa.schema(
    [INDEX_SCHEMA.field(name) for name in ("camera", "offset", "size", "crc32")]
)
LABEL_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("identity", pa.int64()),
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
    images: Iterable[tuple[bytes, int | None]],
    *,
    domain: str,
    split: Split,
    folder: Path,
    shard_size_bytes: int,
) -> Iterator[WrittenShard]:
    """Write images to shards, yielding each once it is complete; one is in memory at a time.

    Args:
        images: (JPEG, camera or None) in the order of the rows.
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
    """The rows of the index for a shard's images, from its file, without tracks and times.

    Raises:
        ValueError: it is no valid Arrow file of images, or its images are compressed.
    """
    with pa.memory_map(str(path)) as source:
        file = source.read_buffer()
    batches = read_table(file, schema=IMAGE_SCHEMA).to_batches()
    return pa.concat_batches([_index_of_batch(batch, file=file) for batch in batches])


def write_index(
    shards: Iterable[pa.RecordBatch],
    *,
    domain: str,
    split: Split,
    folder: Path,
    tracks: pa.ChunkedArray | None = None,
    times: pa.ChunkedArray | None = None,
) -> WrittenShard:
    """Write the index of a split.

    Args:
        shards: the `index_of` each of its shards, in order.
        folder: where the file goes.
        tracks: of all rows; None: unknown.
        times: likewise.
    """
    name = f"{split}-index"
    path = folder / f"{name}.arrow"
    num_rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
        for shard in shards:
            seen = [
                pa.nulls(shard.num_rows, INDEX_SCHEMA.field(name).type)
                if column is None
                else column.slice(num_rows, shard.num_rows).combine_chunks()
                for name, column in (("track", tracks), ("time", times))
            ]
            writer.write(pa.record_batch([*shard.columns, *seen], schema=INDEX_SCHEMA))
            num_rows += shard.num_rows
    return _written(path, domain=domain, name=name, num_rows=num_rows)


def write_labels(
    labels: Iterable[tuple[int | None, str]], *, domain: str, split: Split, folder: Path
) -> WrittenShard:
    """Write the labels of a split: (identity or None, name) in the order of the rows."""
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
    source: Path | bytes,
    *,
    entry: ShardEntry,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read and validate a file of a domain; a shard is memory-mapped.

    Args:
        source: the file, or its content.
        entry: of the file in its manifest.
        schema: that it must have. Columns that version 2 did not have yet are null.
        columns: which to read, in the order of the schema; None: all.

    Raises:
        BadFileError: it is no valid Arrow file, or has other columns or rows than its manifest
            says.
    """
    try:
        table = read_table(source, schema=schema, columns=columns)
    except ValueError as error:
        raise bad_content(entry, str(error)) from error
    if table.num_rows != entry.num_rows:
        raise bad_content(entry, f"it has {table.num_rows} rows, not {entry.num_rows}")
    return table


def bad_content(entry: ShardEntry, problem: str) -> BadFileError:
    """The error for a file with the right checksum whose content cannot be used."""
    return BadFileError(
        f"{entry.key} cannot be used: {problem}; import the domain again",
        problem=f"has the right checksum, but cannot be used: {problem}",
    )


def known_numbers(column: pa.Array | pa.ChunkedArray, *, entry: ShardEntry) -> np.ndarray | None:
    """A column that is known for all images of a split or for none, as an array; None: unknown.

    Args:
        entry: the file it is from, for messages.

    Raises:
        BadFileError: it is known for some images only.
    """
    if column.null_count == 0:
        return numbers(column)
    if column.null_count == len(column):
        return None
    raise bad_content(
        entry,
        f"a column is null in {column.null_count:,} of {len(column):,} rows, and a split knows it "
        "for all images or for none",
    )


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
    # A batch without any bytes has no buffer in the file.
    first = data.address - file.address if data is not None and data.size else 0
    if not 0 <= first <= file.size:
        raise ValueError("its images are compressed, so they cannot be mapped")
    bounds = np.frombuffer(offsets, np.int32, count=len(images) + 1, offset=4 * images.offset)
    crcs = [zlib.crc32(image.as_buffer()) for image in images]
    return pa.record_batch(
        [
            batch["camera"],
            pa.array(first + bounds[:-1].astype(np.int64), pa.uint32()),
            pa.array(np.diff(bounds), pa.uint32()),
            pa.array(crcs, pa.uint32()),
        ],
        schema=PLACE_SCHEMA,
    )


def _grouped(
    images: Iterable[tuple[bytes, int | None]], *, size_bytes: int
) -> Iterator[list[tuple[bytes, int | None]]]:
    group: list[tuple[bytes, int | None]] = []
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
