"""One's own data: a table with the columns path, identity, camera, split.

`path` is relative to the table's folder, `identity` and `camera` are whole numbers (0 marks a
distractor and -1 junk, in the gallery only), `split` is train, query or gallery. Other columns
are ignored.
"""

import csv
from pathlib import Path, PurePosixPath

from daam.data.layouts.index import DatasetIndex, ImageRecord, in_order
from daam.domains import DISTRACTOR, JUNK, Split
from daam.errors import LayoutError

TABLE_NAME = "index.csv"
COLUMNS = ("path", "identity", "camera", "split")
SPLITS = (Split.TRAIN, Split.QUERY, Split.GALLERY)


def read_csv(root: Path) -> DatasetIndex:
    """Index the images a CSV table names.

    Args:
        root: the table, or the folder in which it is `index.csv`.

    Raises:
        LayoutError: the table is missing, lacks a column, or a line of it is wrong or names a
            file that is not there or was named before.
    """
    table = root / TABLE_NAME if root.is_dir() else root
    records: dict[Path, ImageRecord] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                raise LayoutError(
                    f"{table} has no column {', '.join(missing)}; its first line must name "
                    f"{', '.join(COLUMNS)}"
                )
            for row in rows:
                place = f"{table}, line {rows.line_num}"
                record = _record(row, folder=table.parent, place=place)
                if record.path in records:
                    raise LayoutError(f"{place} names {record.path} a second time; remove one")
                records[record.path] = record
    except OSError as error:
        raise LayoutError(
            f"cannot read {table}: {error.strerror}; --root is the table or the folder that holds "
            f"{TABLE_NAME}"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(f"{table} is not a CSV table in UTF-8: {error}") from error
    return DatasetIndex(
        layout="csv", root=table.parent, records=in_order(records.values()), skipped=()
    )


def _record(row: dict[str, str | None], *, folder: Path, place: str) -> ImageRecord:
    text = {column: (row[column] or "").strip() for column in COLUMNS}
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
    if not (folder / path).is_file():
        raise LayoutError(
            f"{place}: {folder / path} is not there; mend the path or remove the line"
        )
    return ImageRecord(path=path, identity=identity, camera=camera, split=split)


def _whole_number(text: str, *, column: str, place: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise LayoutError(f"{place}: {column} {text!r} is not a whole number") from error
