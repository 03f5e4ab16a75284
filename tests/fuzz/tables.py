"""A user's table of images, as CSV and as Parquet."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from daam.dataset.importing.layouts import read_layout
from tests.fuzz.domain import jpegs
from tests.fuzz.mutations import mutated_bytes
from tests.fuzz.target import Target

NAMES = [f"{row}.jpg" for row in range(6)]
COLUMNS = {
    "path": NAMES,
    "identity": ["a", "a", "b", "b", "c", "c"],
    "camera": [1, 2, 1, 2, 1, 2],
    "time": [10, 20, 30, 40, 50, 60],
    "split": ["train", "train", "query", "gallery", "train", "train"],
}


def csv() -> Target:
    """A table in text."""
    lines = [COLUMNS, *zip(*COLUMNS.values(), strict=True)]
    samples = [
        "\n".join(mark.join(map(str, line)) for line in lines).encode() for mark in (",", ";", "\t")
    ]
    return Target(
        name="table, CSV",
        samples=samples,
        mutated=mutated_bytes(samples),
        read=lambda data, folder: _read("csv", data, folder),
    )


def parquet() -> Target:
    """The same in Parquet: encoded as by default, and plain, where edits reach values."""
    table = pa.table(COLUMNS)
    nested = table.append_column("more", pa.array([{"a": [1]}] * 6))
    samples = [_written(table), _written(table, plain=True), _written(nested, plain=True)]
    return Target(
        name="table, Parquet",
        samples=samples,
        mutated=mutated_bytes(samples, places=lambda data: [range(len(data) // 2, len(data))]),
        read=lambda data, folder: _read("parquet", data, folder),
    )


def _written(table: pa.Table, *, plain: bool = False) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="none" if plain else "snappy", use_dictionary=not plain)
    return file.getvalue()


def _read(layout: str, data: bytes, folder: Path) -> None:
    for name, jpeg in zip(NAMES, jpegs(), strict=False):
        if not (folder / name).exists():
            (folder / name).write_bytes(jpeg)
    path = folder / f"index.{layout}"
    path.write_bytes(data)
    index = read_layout(layout, path)
    paths = [path for images in index.splits.values() for path in images["path"].to_pylist()]
    assert len(paths) == len(set(paths))
    assert set(paths) <= set(NAMES)
