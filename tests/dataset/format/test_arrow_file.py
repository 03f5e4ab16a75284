"""An Arrow file with the right checksum and hostile content is refused before a value is read."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from daam.dataset.format.arrow_file import read_table
from daam.dataset.format.shards import (
    IMAGE_SCHEMA,
    LABEL_SCHEMA,
    index_of,
    open_shard,
    write_image_shards,
    write_labels,
)
from daam.domains import Split
from daam.errors import ShardError
from tests.support.arrow_buffers import OFFSETS, VALUES, overwritten, uncompressed


def content(schema: pa.Schema, columns: list[object]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write(pa.record_batch(columns, schema=schema))
    return sink.getvalue().to_pybytes()


@pytest.fixture
def labels() -> bytes:
    return content(LABEL_SCHEMA, [range(3), [7, 7, 8], ["a.jpg", "b.jpg", "ä.jpg"]])


def test_a_valid_file_is_read_from_a_path_and_from_bytes(labels: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.arrow"
    path.write_bytes(labels)
    whole = read_table(labels, schema=LABEL_SCHEMA)
    assert whole["name"].to_pylist() == ["a.jpg", "b.jpg", "ä.jpg"]
    assert read_table(path, schema=LABEL_SCHEMA).equals(whole)
    names = read_table(labels, schema=LABEL_SCHEMA, columns=["name"])
    assert names.equals(whole.select(["name"]))


@pytest.mark.parametrize(
    ("buffer", "at", "value", "problem"),
    [
        (OFFSETS, 4, (2**31 - 1).to_bytes(4, "little"), "[Oo]ffset"),
        (OFFSETS, 4, (-5).to_bytes(4, "little", signed=True), "[Oo]ffset"),
        (OFFSETS, 8, (2).to_bytes(4, "little"), "[Oo]ffset"),  # they fall
        (OFFSETS, 12, (10**6).to_bytes(4, "little"), "[Oo]ffset"),
        (VALUES, 2, b"\xff", "UTF8"),
    ],
)
@pytest.mark.parametrize("columns", [None, ["name"]])
def test_names_that_would_be_read_outside_the_file_are_refused(
    labels: bytes, buffer: int, at: int, value: bytes, problem: str, columns: list[str] | None
) -> None:
    hostile = overwritten(labels, column="name", buffer=buffer, at=at, value=value)
    with pytest.raises(ValueError, match=f"no valid Arrow file .*{problem}"):
        read_table(hostile, schema=LABEL_SCHEMA, columns=columns)


def test_a_null_where_there_must_be_a_value_is_refused() -> None:
    data = content(LABEL_SCHEMA, [range(2), [1, 2], ["a.jpg", None]])
    with pytest.raises(ValueError, match="column name has nulls"):
        read_table(data, schema=LABEL_SCHEMA)


def test_other_columns_are_refused_before_their_values_are_read(labels: bytes) -> None:
    with pytest.raises(
        ValueError,
        match="it has columns row: int64 not null, identity: int64, name: string not null; not row",
    ):
        read_table(labels, schema=IMAGE_SCHEMA)
    encoded = pa.schema([*LABEL_SCHEMA][:2]).append(
        pa.field("name", pa.dictionary(pa.int32(), pa.string()), nullable=False)
    )
    names = pa.DictionaryArray.from_arrays(pa.array([0, 9], pa.int32()), ["a.jpg"], safe=False)
    with pytest.raises(ValueError, match="it has columns"):
        read_table(content(encoded, [range(2), [1, 2], names]), schema=LABEL_SCHEMA)


@pytest.mark.parametrize("cut", [0, 1, 8, 200, -1])
def test_a_file_that_is_cut_is_refused(labels: bytes, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.arrow"
    path.write_bytes(labels[:cut])
    for source in (labels[:cut], path):
        with pytest.raises(ValueError, match="no valid Arrow file"):
            read_table(source, schema=LABEL_SCHEMA)


def test_labels_with_hostile_offsets_and_their_own_checksum_are_an_error_of_daam(
    tmp_path: Path,
) -> None:
    names = [(7, f"{number}.jpg") for number in range(50)]
    written = write_labels(names, domain="plaza", split=Split.TRAIN, folder=tmp_path)
    data = uncompressed(written.path.read_bytes())
    hostile = overwritten(data, column="name", buffer=OFFSETS, at=40, value=b"\xff\xff\xff\x7f")
    written.path.write_bytes(hostile)
    entry = replace(written.entry, sha256=hashlib.sha256(hostile).hexdigest())
    with pytest.raises(ShardError, match=r"plaza/train-labels.*import the domain again"):
        open_shard(written.path, entry=entry, schema=LABEL_SCHEMA, columns=["name"])


def test_a_shard_whose_images_cannot_be_mapped_has_no_index(tmp_path: Path) -> None:
    (shard,) = write_image_shards(
        [(b"x" * 1000, 1)], domain="p", split=Split.TRAIN, folder=tmp_path, shard_size_bytes=9999
    )
    table = pa.ipc.open_file(shard.path.read_bytes()).read_all()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(shard.path), "wb") as sink,
        pa.ipc.new_file(sink, IMAGE_SCHEMA, options=options) as writer,
    ):
        writer.write_table(table)
    with pytest.raises(ValueError, match="compressed"):
        index_of(shard.path)
