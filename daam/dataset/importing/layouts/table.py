"""A user's own data: a table with the columns path, identity, camera, split, as CSV or Parquet.

`path` is relative to the table's folder, `identity` and `camera` are integers (identity 0 marks a
distractor and -1 junk, in the gallery only), `split` is train, query or gallery. Other columns
are ignored.
"""

import csv
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from daam.dataset.importing.dataset_index import (
    DatasetIndex,
    DuplicatePathError,
    IndexBuilder,
)
from daam.domains import DISTRACTOR, JUNK, Split
from daam.errors import LayoutError

COLUMNS = ("path", "identity", "camera", "split")
SPLITS = (Split.TRAIN, Split.QUERY, Split.GALLERY)

# Where a row is, for messages, and its cells.
Rows = Iterator[tuple[str, Mapping[str, object]]]


def read_table(root: Path, *, layout: Literal["csv", "parquet"]) -> DatasetIndex:
    """Index the images in a table.

    Args:
        root: the table, or the folder in which it is `index.csv` or `index.parquet`.
        layout: its format.

    Raises:
        LayoutError: the table is missing or lacks a column, or a row of it is wrong, names a
            missing file, or one that an earlier row names.
    """
    name = f"index.{layout}"
    table = root / name if os.path.isdir(root) else root
    rows = _csv_rows if layout == "csv" else _parquet_rows
    index = IndexBuilder(layout=layout, root=table.parent)
    try:
        for place, row in rows(table):
            _add(row, place=place, index=index)
        return index.build()
    except DuplicatePathError as error:
        # Rather than keep the place of every row, read the table again.
        places = [place for place, row in rows(table) if _path(row) == PurePosixPath(error.path)]
        raise LayoutError(f"{places[1]} names {error.path} a second time; remove one") from error
    except OSError as error:
        raise LayoutError(
            f"cannot read {table}: {error.strerror}; --root is the table or the folder that holds "
            f"{name}"
        ) from error


def _csv_rows(table: Path) -> Rows:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            _check_columns(rows.fieldnames or (), table=table)
            for row in rows:
                yield f"{table}, line {rows.line_num}", row
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(f"{table} is not a CSV table in UTF-8: {error}") from error


def _parquet_rows(table: Path) -> Rows:
    try:
        with table.open("rb") as file, pq.ParquetFile(file) as parquet:
            _check_columns(parquet.schema_arrow.names, table=table)
            batches = parquet.iter_batches(columns=list(COLUMNS))
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"{table}, row {number}", row
    except pa.ArrowException as error:
        raise LayoutError(
            f"{table} is not a Parquet table that can be read: {str(error).splitlines()[0]}"
        ) from error


def _check_columns(columns: Collection[str], *, table: Path) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise LayoutError(
            f"{table} has no column {', '.join(missing)}; it must have {', '.join(COLUMNS)}"
        )


def _add(row: Mapping[str, object], *, place: str, index: IndexBuilder) -> None:
    if (name := _text(row, "split")) not in SPLITS:
        raise LayoutError(f"{place}: split {name!r} is not one of {', '.join(SPLITS)}")
    split = Split(name)
    identity = _integer(row, "identity", place=place)
    camera = _integer(row, "camera", place=place)
    lowest = JUNK if split == Split.GALLERY else DISTRACTOR + 1
    if identity < lowest or camera < 0:
        raise LayoutError(
            f"{place}: identities count from 1 (0 and -1 are distractors and junk, in the gallery "
            f"only) and cameras from 0, not {identity} and {camera}"
        )
    path = _path(row)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise LayoutError(
            f"{place}: path {_text(row, 'path')!r} must lie inside the table's folder"
        )
    if not os.path.isfile(index.root / path):
        raise LayoutError(
            f"{place}: {index.root / path} is not there; correct the path or remove the line"
        )
    index.add(str(path), identity=identity, camera=camera, split=split)


def _path(row: Mapping[str, object]) -> PurePosixPath:
    return PurePosixPath(_text(row, "path"))


def _text(row: Mapping[str, object], column: str) -> str:
    return "" if row[column] is None else str(row[column]).strip()


def _integer(row: Mapping[str, object], column: str, *, place: str) -> int:
    text = _text(row, column)
    try:
        return int(text)
    except ValueError as error:
        raise LayoutError(f"{place}: {column} {text!r} is not an integer") from error
