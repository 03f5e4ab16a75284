"""One's own data: a table with the columns path, identity, camera, split, in CSV or Parquet.

`path` is relative to the table's folder, `identity` and `camera` are whole numbers (0 marks a
distractor and -1 junk, in the gallery only), `split` is train, query or gallery. Other columns
are ignored.
"""

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from daam.dataset.importing.layouts.files import is_file, is_folder
from daam.dataset.importing.layouts.index import DatasetIndex, ImageRecord
from daam.domains import DISTRACTOR, JUNK, Split
from daam.errors import LayoutError

CSV_NAME = "index.csv"
PARQUET_NAME = "index.parquet"
COLUMNS = ("path", "identity", "camera", "split")
SPLITS = (Split.TRAIN, Split.QUERY, Split.GALLERY)

# Where a row is, for messages, and its cells.
Rows = Iterator[tuple[str, Mapping[str, object]]]


def read_csv(root: Path) -> DatasetIndex:
    """Index the images that a CSV table names.

    Args:
        root: the table, or the folder in which it is `index.csv`.

    Raises:
        LayoutError: the table is missing, lacks a column, or a line of it is wrong or names a
            file that is not there or was named before.
    """
    table = root / CSV_NAME if is_folder(root) else root
    return _index(_csv_rows(table), layout="csv", folder=table.parent)


def read_parquet(root: Path) -> DatasetIndex:
    """Index the images that a Parquet table names.

    Args:
        root: the table, or the folder in which it is `index.parquet`.

    Raises:
        LayoutError: as with `read_csv`.
    """
    table = root / PARQUET_NAME if is_folder(root) else root
    return _index(_parquet_rows(table), layout="parquet", folder=table.parent)


def _index(rows: Rows, *, layout: str, folder: Path) -> DatasetIndex:
    index = DatasetIndex(layout=layout, root=folder)
    for place, row in rows:
        record = _record(row, folder=folder, place=place)
        if not index.add(record):
            raise LayoutError(f"{place} names {record.path} a second time; remove one")
    return index


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


def _record(row: Mapping[str, object], *, folder: Path, place: str) -> ImageRecord:
    text = {column: "" if row[column] is None else str(row[column]).strip() for column in COLUMNS}
    if text["split"] not in SPLITS:
        raise LayoutError(f"{place}: split {text['split']!r} is not one of {', '.join(SPLITS)}")
    split = Split(text["split"])
    identity = _whole_number(text["identity"], column="identity", place=place)
    camera = _whole_number(text["camera"], column="camera", place=place)
    lowest = JUNK if split == Split.GALLERY else DISTRACTOR + 1
    if identity < lowest or camera < 0:
        raise LayoutError(
            f"{place}: identities count from 1 (0 and -1 are distractors and junk, in the gallery "
            f"only) and cameras from 0, not {identity} and {camera}"
        )
    relative = PurePosixPath(text["path"])
    if not text["path"] or relative.is_absolute() or ".." in relative.parts:
        raise LayoutError(f"{place}: path {text['path']!r} must lie inside the table's folder")
    path = Path(relative)
    if not is_file(folder / path):
        raise LayoutError(
            f"{place}: {folder / path} is not there; mend the path or remove the line"
        )
    return ImageRecord(path=path, identity=identity, camera=camera, split=split)


def _whole_number(text: str, *, column: str, place: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise LayoutError(f"{place}: {column} {text!r} is not a whole number") from error
