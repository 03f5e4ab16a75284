"""A user's own data: a table of images, as CSV or Parquet.

Only `path`, relative to the table's folder, is needed. `identity`, `camera`, `track`, `time` and
`split` (train, query or gallery; without it all are train) are read if they are there, under these
names or the usual others in `own_images.NAMES`. Further columns are not read, and named in a note.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from daam.dataset.importing.dataset_index import DatasetIndex
from daam.dataset.importing.layouts.files import folders_in
from daam.dataset.importing.layouts.own_images import MEANINGS, NAMES, OwnImages
from daam.errors import LayoutError

DELIMITERS = ",;\t|"
HEADER_SHOWN = 200  # characters

# Of each row its line, or its number, and its cells. The first is the header.
Rows = Iterator[tuple[int, Sequence[str | None]]]


def read_table(root: Path, *, layout: Literal["csv", "parquet"]) -> DatasetIndex:
    """Index the images in a table.

    Args:
        root: the table, or the folder in which it is `index.csv` or `index.parquet`.
        layout: its format.

    Raises:
        LayoutError: the table is missing, has no column for the path or two of one meaning, or a
            row of it is wrong, names a missing file, or one that an earlier row names.
        DataError: something is known of some images of a split only.
    """
    name = f"index.{layout}"
    table = root / name if os.path.isdir(root) else root
    rows_of, unit = (_csv_rows, "line") if layout == "csv" else (_parquet_rows, "row")

    def place(_: str, line: int) -> str:
        return f"{table}, {unit} {line}"

    images = OwnImages(layout=layout, root=table.parent, place=place)
    try:
        rows = rows_of(table)
        _, header = next(rows, (0, []))
        meanings = _meanings(header, table=table)
        unread = [name for name, meaning in zip(header, meanings, strict=True) if not meaning]
        if any(unread):
            images.notes.append(f"columns that are not read: {', '.join(filter(None, unread))}")
        for line, cells in rows:
            if len(cells) != len(header):
                raise LayoutError(
                    f"{place('', line)} has {len(cells)} cells, its header {len(header)}; correct "
                    "it, and quote cells that contain the delimiter"
                )
            values = {
                meaning: cell for meaning, cell in zip(meanings, cells, strict=True) if meaning
            }
            path = _path(values.pop("path"), root=table.parent, place=place("", line))
            images.add(path, values=values, line=line)
        return images.build()
    except OSError as error:
        raise LayoutError(
            f"cannot read {table}: {error.strerror}; --root is the table or the folder that holds "
            f"{name}{_other_tables(table)}; for images without a table there is --layout folder"
        ) from error


def _other_tables(table: Path) -> str:
    with suppress(OSError), os.scandir(table.parent) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(table.suffix))
        if names:
            return f" (did you mean --root {table.parent / names[0]}?)"
    return ""


def _csv_rows(table: Path) -> Rows:
    line = 1
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            # The delimiter that yields the most columns that are known; a comma if all are equal.
            delimiter = max(DELIMITERS, key=lambda mark: _num_known(header.split(mark)))
            rows = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
            for row in rows:
                line = rows.line_num
                if any(cell.strip() for cell in row):
                    yield line, row
    except UnicodeDecodeError as error:
        raise LayoutError(
            f"{table} is not text in UTF-8 after line {line} ({error.reason}); save it as CSV in "
            "UTF-8"
        ) from error
    except csv.Error as error:
        raise LayoutError(f"{table} is not a CSV table: {error} after line {line}") from error


def _parquet_rows(table: Path) -> Rows:
    try:
        with table.open("rb") as file, pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            header = schema.names
            yield 0, header
            read = [name for name in header if _meaning(name)]
            for name in read:
                if pa.types.is_nested(schema.field(name).type):
                    raise LayoutError(
                        f"{table}: column {name} holds {schema.field(name).type}, not text or "
                        "numbers; write one value per image"
                    )
            number = 0
            for batch in parquet.iter_batches(columns=read):
                batch.validate(full=True)
                texts = dict(zip(batch.schema.names, map(_texts, batch.columns), strict=True))
                for row in range(batch.num_rows):
                    number += 1
                    yield number, [texts[name][row] if name in texts else None for name in header]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system; Parquet's own have no number
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise LayoutError(f"{table} is not a Parquet table that can be read: {reason}") from error


def _texts(column: pa.Array) -> list[str | None]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.large_string())
    return [None if value is None else str(value) for value in column.to_pylist()]


def _meaning(column: str | None) -> str | None:
    name = (column or "").strip().lower().replace(" ", "_").replace("-", "_")
    return MEANINGS.get(name)


def _num_known(columns: Sequence[str]) -> int:
    return sum(_meaning(column.strip().strip('"')) is not None for column in columns)


def _meanings(header: Sequence[str | None], *, table: Path) -> list[str | None]:
    """What each column of a table holds; None if it is not read."""
    meanings = [_meaning(column) for column in header]
    names = ", ".join((column or "").strip() for column in header)
    shown = names[:HEADER_SHOWN] + ("…" if len(names) > HEADER_SHOWN else "")
    if "path" not in meanings:
        raise LayoutError(
            f"{table} has no column path; its first line has {shown or 'nothing'}. A header names "
            f"the columns: path, and any of {', '.join(name for name in NAMES if name != 'path')}"
        )
    for meaning in NAMES:
        if meanings.count(meaning) > 1:
            same = [
                (column or "").strip()
                for column, of_column in zip(header, meanings, strict=True)
                if of_column == meaning
            ]
            raise LayoutError(
                f"{table} has {len(same)} columns for {meaning}: {', '.join(same)[:HEADER_SHOWN]}; "
                "rename or remove all but one"
            )
    return meanings


def _path(cell: str | None, *, root: Path, place: str) -> str:
    text = (cell or "").strip()
    if "\\" in text and not os.path.isfile(root / text):
        text = text.replace("\\", "/")  # of Windows
    path = PurePosixPath(text)
    folder = PurePosixPath(root.absolute())
    if path.is_absolute() and path.is_relative_to(folder):
        path = path.relative_to(folder)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise LayoutError(
            f"{place}: path {text!r} must lie inside the table's folder, {root}; move the table to "
            "a folder that holds all images"
        )
    if not os.path.isfile(root / path):
        raise LayoutError(
            f"{place}: {root / path} is not there; "
            + (_place_of(path, root=root) or "correct the path or remove the line")
        )
    return str(path)


def _place_of(path: PurePosixPath, *, root: Path) -> str | None:
    for folder in folders_in(root):
        if os.path.isfile(folder / path):
            return (
                f"it is in {folder}: paths are relative to the table, so write "
                f"{folder.name}/{path}, or move the table into that folder"
            )
    return None
