"""A user's own data: a table with the columns path, identity, camera, split, as CSV or Parquet.

`path` is relative to the table's folder, `identity` and `camera` are integers (identity 0 marks a
distractor and -1 junk, in the gallery only), `split` is train, query or gallery. Other columns
are ignored.
"""

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from daam.dataset.importing.dataset_index import (
    DatasetIndex,
    DuplicatePathError,
    IndexBuilder,
)
from daam.dataset.importing.layouts.files import is_file, is_folder
from daam.domains import DISTRACTOR, JUNK, Split
from daam.errors import LayoutError

CSV_NAME = "index.csv"
PARQUET_NAME = "index.parquet"
COLUMNS = ("path", "identity", "camera", "split")
SPLITS = (Split.TRAIN, Split.QUERY, Split.GALLERY)

# Where a row is, for messages, and its cells.
Rows = Iterator[tuple[str, Mapping[str, object]]]


class Image(NamedTuple):
    """What a row says of an image; the path relative to the table's folder."""

    path: str
    identity: int
    camera: int
    split: Split


def read_csv(root: Path) -> DatasetIndex:
    """Index the images in a CSV table.

    Args:
        root: the table, or the folder in which it is `index.csv`.

    Raises:
        LayoutError: the table is missing or lacks a column, or a line of it is wrong, names a
            missing file, or one that an earlier line names.
    """
    table = root / CSV_NAME if is_folder(root) else root
    return _index(_csv_rows, table, layout="csv")


def read_parquet(root: Path) -> DatasetIndex:
    """Index the images in a Parquet table.

    Args:
        root: the table, or the folder in which it is `index.parquet`.

    Raises:
        LayoutError: as with `read_csv`.
    """
    table = root / PARQUET_NAME if is_folder(root) else root
    return _index(_parquet_rows, table, layout="parquet")


def _index(read: Callable[[Path], Rows], table: Path, *, layout: str) -> DatasetIndex:
    folder = table.parent
    index = IndexBuilder(layout=layout, root=folder)
    for place, row in read(table):
        image = _image(row, folder=folder, place=place)
        index.add(image.path, identity=image.identity, camera=image.camera, split=image.split)
    try:
        return index.build()
    except DuplicatePathError as error:
        # Rather than keep the number of every row, read the table again.
        places = (
            place
            for place, row in read(table)
            if _image(row, folder=folder, place=place).path == error.path
        )
        second = next(islice(places, 1, None))
        raise LayoutError(f"{second} names {error.path} a second time; remove one") from error


def _csv_rows(table: Path) -> Rows:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            _check_columns(rows.fieldnames or (), table=table)
            for row in rows:
                yield f"{table}, line {rows.line_num}", row
    except OSError as error:
        raise _unreadable(table, error, name=CSV_NAME) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(f"{table} is not a CSV table in UTF-8: {error}") from error


def _parquet_rows(table: Path) -> Rows:
    try:
        with table.open("rb") as file, pq.ParquetFile(file) as parquet:
            _check_columns(parquet.schema_arrow.names, table=table)
            batches = parquet.iter_batches(columns=list(COLUMNS))
            rows: Iterable[dict[str, object]] = (
                row for batch in batches for row in batch.to_pylist()
            )
            for number, row in enumerate(rows, start=1):
                yield f"{table}, row {number}", row
    except pa.ArrowException as error:
        raise LayoutError(
            f"{table} is not a Parquet table that can be read: {str(error).splitlines()[0]}"
        ) from error
    except OSError as error:
        raise _unreadable(table, error, name=PARQUET_NAME) from error


def _check_columns(columns: Collection[str], *, table: Path) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise LayoutError(
            f"{table} has no column {', '.join(missing)}; it must have {', '.join(COLUMNS)}"
        )


def _unreadable(table: Path, error: OSError, *, name: str) -> LayoutError:
    return LayoutError(
        f"cannot read {table}: {error.strerror}; --root is the table or the folder that holds "
        f"{name}"
    )


def _image(row: Mapping[str, object], *, folder: Path, place: str) -> Image:
    text = {column: "" if row[column] is None else str(row[column]).strip() for column in COLUMNS}
    if text["split"] not in SPLITS:
        raise LayoutError(f"{place}: split {text['split']!r} is not one of {', '.join(SPLITS)}")
    split = Split(text["split"])
    identity = _integer(text["identity"], column="identity", place=place)
    camera = _integer(text["camera"], column="camera", place=place)
    lowest = JUNK if split == Split.GALLERY else DISTRACTOR + 1
    if identity < lowest or camera < 0:
        raise LayoutError(
            f"{place}: identities count from 1 (0 and -1 are distractors and junk, in the gallery "
            f"only) and cameras from 0, not {identity} and {camera}"
        )
    path = PurePosixPath(text["path"])
    if not text["path"] or path.is_absolute() or ".." in path.parts:
        raise LayoutError(f"{place}: path {text['path']!r} must lie inside the table's folder")
    if not is_file(folder / path):
        raise LayoutError(
            f"{place}: {folder / path} is not there; correct the path or remove the line"
        )
    return Image(str(path), identity, camera, split)


def _integer(text: str, *, column: str, place: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise LayoutError(f"{place}: {column} {text!r} is not an integer") from error
