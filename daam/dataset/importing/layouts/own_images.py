"""A user's own images, of a folder or a table: what is known of each is text until all are seen.

Only then is it clear whether cameras are numbers or names. Numbers stay; names are numbered from 1
in sorted order. `-1` and the usual words for a missing value are unknown.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daam.dataset.format.shards import numbers
from daam.dataset.importing.dataset_index import (
    LARGEST,
    ROWS_PER_BATCH,
    SCHEMA,
    SPLIT_CODES,
    DatasetIndex,
    DuplicatePathError,
    SkippedFile,
    sorted_files,
    split_images,
)
from daam.domains import DISTRACTOR, JUNK, Split
from daam.errors import LayoutError

# What a column of a table, or a group of a pattern, may be called.
NAMES = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img"),
    "identity": ("identity", "person", "person_id", "pid"),
    "camera": ("camera", "camera_id", "cam", "cam_id", "camid"),
    "track": ("track", "track_id", "tracklet", "tracklet_id"),
    "time": ("time", "timestamp", "datetime"),
    "split": ("split", "subset"),
}
MEANINGS = {name: meaning for meaning, names in NAMES.items() for name in names}
KNOWN = ("identity", "camera", "track", "time")
SPLITS = (Split.TRAIN, Split.QUERY, Split.GALLERY)
UNKNOWN = ("", "-1", "nan", "none", "null", "n/a", "<na>", "nat", "unknown")
RAW_SCHEMA = pa.schema(
    [
        pa.field("path", pa.large_string()),
        pa.field("line", pa.int64()),
        pa.field("split", pa.int8()),
        *(pa.field(name, pa.string()) for name in KNOWN),
    ]
)
# Whole numbers as programs write them; those with missing values among them become 7.0.
WHOLE = re.compile(r"([+-]?\d+)(\.0*)?", re.ASCII)
# As cameras name files: 20260501_123000, 2026-05-01 12-30-00.250
STAMP = re.compile(
    r"(\d{4})[-_]?(\d{2})[-_]?(\d{2})[T _-](\d{2})[-_:]?(\d{2})[-_:]?(\d{2})(?:[._](\d{1,6}))?",
    re.ASCII,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES_SHOWN = 5


class OwnImages:
    """Collects a user's images in any order; `build` turns text into numbers.

    Args:
        layout: its name.
        root: the folder that paths are relative to.
        options: of the layout, by their names on the command line.
        place: says where an image is from, for messages, by its path and the line given to `add`.
    """

    def __init__(
        self,
        *,
        layout: str,
        root: Path,
        options: Mapping[str, str] | None = None,
        place: Callable[[str, int], str],
    ) -> None:
        self.root = root
        self.skipped: list[SkippedFile] = []
        self.notes: list[str] = []
        self._layout = layout
        self._options = dict(options or {})
        self._place = place
        self._rows: list[tuple[str | int | None, ...]] = []
        self._batches: list[pa.RecordBatch] = []

    def skip(self, path: str, reason: str) -> None:
        """Note a file that is not imported, by its path relative to the folder."""
        self.skipped.append(SkippedFile(path=path, reason=reason))

    def add(self, path: str, *, values: Mapping[str, str | None], line: int = 0) -> None:
        """Add an image.

        Args:
            path: relative to the folder.
            values: text of what is known: any of identity, camera, track, time and split, which is
                train if it is not given.
            line: of the table that names it.

        Raises:
            LayoutError: the path is not UTF-8, or the split has another name.
        """
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise LayoutError(
                f"{str(self.root / path)!a} has a name that is not UTF-8; rename it"
            ) from error
        name = Split.TRAIN if "split" not in values else (values["split"] or "").strip().lower()
        if name not in SPLITS:
            raise LayoutError(
                f"{self._place(path, line)}: split {name!r} is not one of {', '.join(SPLITS)}; "
                "without splits all images are train, and --cut-test cuts a test set out of them"
            )
        split = Split(name)
        known = {column: known_text(values.get(column)) for column in KNOWN}
        if split == Split.GALLERY and (values.get("identity") or "").strip() == "-1":
            known["identity"] = "-1"  # junk
        self._rows.append((path, line, SPLIT_CODES[split], *known.values()))
        if len(self._rows) == ROWS_PER_BATCH:
            self._flush()

    def build(self) -> DatasetIndex:
        """Return the index.

        Raises:
            LayoutError: a value cannot be understood, or is too large; or an image was added twice.
            DataError: something is known of some images of a split only.
        """
        self._flush()
        raw = pa.Table.from_batches(self._batches, RAW_SCHEMA)
        self._batches = []
        identities, identity_names = self._identities(raw)
        cameras, camera_names = self._cameras(raw)
        tracks = self._tracks(raw, cameras=cameras)
        times = self._times(raw)
        images = pa.table(
            [raw["path"], identities, cameras, tracks, times, raw["split"]], schema=SCHEMA
        )
        try:
            splits = split_images(images, root=self.root)
        except DuplicatePathError as error:
            lines = raw["line"].filter(pc.call_function("equal", [raw["path"], error.path]))
            raise LayoutError(
                f"{self._place(error.path, lines[1].as_py())} names {error.path} a second time; a "
                "row is one image of one person: remove one, or cut the people out of the image "
                "first"
            ) from error
        return DatasetIndex(
            layout=self._layout,
            root=self.root,
            splits=splits,
            skipped=sorted_files(self.skipped),
            options=self._options,
            camera_names=camera_names,
            identity_names=identity_names,
            notes=tuple(self.notes),
        )

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [[]] * len(RAW_SCHEMA)
        self._batches.append(pa.record_batch(columns, schema=RAW_SCHEMA))
        self._rows = []

    def _identities(self, raw: pa.Table) -> tuple[pa.ChunkedArray, dict[int, str]]:
        column = raw["identity"]
        is_gallery = numbers(raw["split"]) == SPLIT_CODES[Split.GALLERY]
        in_gallery = _distinct(column.filter(pa.array(is_gallery)))
        elsewhere = _distinct(column.filter(pa.array(~is_gallery)))
        special = {"0": DISTRACTOR, "-1": JUNK}
        by_text = _whole_numbers(in_gallery | elsewhere)
        names: dict[int, str] = {}
        if by_text is None:
            by_text, names = _numbered(sorted((in_gallery | elsewhere) - special.keys()))
            by_text |= special
            self._note_names("people", names)
        elif _counts_from_0(by_text, in_gallery=in_gallery, elsewhere=elsewhere):
            ranks = {number: rank for rank, number in enumerate(sorted({*by_text.values()}), 1)}
            names = {rank: str(number) for number, rank in ranks.items()}
            by_text = {value: ranks[number] for value, number in by_text.items()}
            self.notes.append("people are counted from 0; here from 1, as 0 marks distractors")
        for values, lowest, is_there in (
            (elsewhere, DISTRACTOR + 1, ~is_gallery),
            (in_gallery, JUNK, is_gallery),
        ):
            for value in sorted(values):
                if by_text[value] < lowest:
                    raise self._refusal(
                        raw.filter(pa.array(is_there)),
                        "identity",
                        value,
                        f"identities count from 1, not {value} (0 and -1 are distractors and junk, "
                        "in the gallery only)",
                    )
        return self._mapped(raw, "identity", by_text.get), names

    def _cameras(self, raw: pa.Table) -> tuple[pa.ChunkedArray, dict[int, str]]:
        values = _distinct(raw["camera"])
        by_text = _whole_numbers(values)
        names: dict[int, str] = {}
        # Serial numbers may be longer than a column can hold: they are names.
        if by_text is None or max(by_text.values(), default=0) > LARGEST["camera"]:
            by_text, names = _numbered(sorted(values))
            self._note_names("cameras", names)
        for value in sorted(values):
            if by_text[value] < 0:
                raise self._refusal(raw, "camera", value, f"cameras count from 0, not {value}")
        return self._mapped(raw, "camera", by_text.get), names

    def _tracks(self, raw: pa.Table, *, cameras: pa.ChunkedArray) -> pa.ChunkedArray:
        # Trackers number their tracks anew for each camera, so 5 under two of them are two tracks.
        by_text, _ = _numbered(sorted(_distinct(raw["track"])))
        of_camera = self._mapped(raw, "track", by_text.get)
        is_known = numbers(of_camera.is_valid().cast(pa.uint8())).astype(bool)
        pairs = np.column_stack(
            [numbers(cameras.fill_null(-1))[is_known], numbers(of_camera.fill_null(0))[is_known]]
        )
        tracks = np.zeros(len(is_known), np.int32)
        tracks[is_known] = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1) + 1
        return pa.chunked_array([pa.array(tracks, mask=~is_known)])

    def _times(self, raw: pa.Table) -> pa.ChunkedArray:
        column = raw["time"]
        first = column.slice(0 if not column.null_count else _first_known(column), 1)
        is_count = len(first) and WHOLE.fullmatch(str(first[0].as_py()))
        return self._mapped(raw, "time", _whole_number if is_count else _microseconds)

    def _mapped(
        self, raw: pa.Table, name: str, number_of: Callable[[str], int | None]
    ) -> pa.ChunkedArray:
        kind = SCHEMA.field(name).type
        chunks = []
        for chunk in raw[name].chunks:
            encoded = chunk.dictionary_encode()
            values = encoded.dictionary.to_pylist()
            found = [number_of(value) for value in values]
            for value, number in zip(values, found, strict=True):
                if number is None:
                    raise self._refusal(
                        raw,
                        name,
                        value,
                        f"{name} {value!r} is neither a whole number nor ISO 8601, like "
                        "2026-05-01T12:30:00 (all times of a data set are one of the two)",
                    )
                if abs(number) > LARGEST[name]:
                    largest = LARGEST[name]
                    raise self._refusal(
                        raw, name, value, f"{name} {value} is too large; the largest is {largest}"
                    )
            chunks.append(pa.array(found, kind).take(encoded.indices))
        return pa.chunked_array(chunks, kind)

    def _note_names(self, what: str, names: Mapping[int, str]) -> None:
        shown = [f"{number} {name}" for number, name in islice(names.items(), NAMES_SHOWN)]
        more = ", …" if len(names) > NAMES_SHOWN else ""
        self.notes.append(
            f"{what} have names, numbered here in sorted order: {', '.join(shown)}{more}"
        )

    def _refusal(self, raw: pa.Table, name: str, value: str, problem: str) -> LayoutError:
        row = raw[name].index(value).as_py()
        place = self._place(raw["path"][row].as_py(), raw["line"][row].as_py())
        return LayoutError(f"{place}: {problem}")


def known_text(value: str | None) -> str | None:
    """The text without blanks around it; None if it says that the value is unknown."""
    text = (value or "").strip()
    return None if text.lower() in UNKNOWN else text


def _distinct(column: pa.ChunkedArray) -> set[str]:
    return set(column.unique().to_pylist()) - {None}


def _first_known(column: pa.ChunkedArray) -> int:
    return column.is_valid().index(True).as_py() % (len(column) + 1)  # -1 becomes the end


def _whole_number(value: str) -> int | None:
    match = WHOLE.fullmatch(value)
    return None if match is None else int(match[1])


def _whole_numbers(values: Collection[str]) -> dict[str, int] | None:
    """Text -> number; None if one of them is none."""
    found = {value: _whole_number(value) for value in values}
    whole = {value: number for value, number in found.items() if number is not None}
    return whole if len(whole) == len(found) else None


def _numbered(names: Iterable[str]) -> tuple[dict[str, int], dict[int, str]]:
    """Number names from 1: name -> number, and number -> name."""
    by_number = dict(enumerate(names, start=1))
    return {name: number for number, name in by_number.items()}, by_number


def _counts_from_0(
    by_text: Mapping[str, int], *, in_gallery: Collection[str], elsewhere: Collection[str]
) -> bool:
    """Whether people are numbered 0, 1, ...; a 0 in the gallery would be a distractor."""
    lowest = min((by_text[value] for value in elsewhere), default=1)
    return lowest == 0 and all(by_text[value] > 0 for value in in_gallery)


def _microseconds(value: str) -> int | None:
    """Microseconds since 1970 of a time in ISO 8601 or as in file names; UTC if it has no zone."""
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        match = STAMP.fullmatch(value)
        if match is None:
            return None
        year, month, day, hour, minute, second, fraction = match.groups(default="0")
        text = f"{year}-{month}-{day}T{hour}:{minute}:{second}.{fraction.ljust(6, '0')}"
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - EPOCH) // timedelta(microseconds=1)
