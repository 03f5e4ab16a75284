"""The images of a data set as columns in memory, sorted by path: what every layout becomes."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daam.dataset.format.shards import numbers
from daam.domains import Split
from daam.errors import DataError, LayoutError

SCHEMA = pa.schema(
    [
        pa.field("path", pa.large_string()),  # beyond 2 GiB of names an offset needs 64 bits
        pa.field("identity", pa.int64()),
        pa.field("camera", pa.int32()),
        pa.field("track", pa.int32()),
        pa.field("time", pa.int64()),
        pa.field("split", pa.int8()),  # its position in `Split`
    ]
)
COLUMNS = ["path", "identity", "camera", "track", "time"]
# What the columns of a shard can hold.
LARGEST = {"identity": 2**63 - 1, "camera": 2**31 - 1, "track": 2**31 - 1, "time": 2**63 - 1}
NUM_NAMED = 3
SPLIT_CODES = {split: code for code, split in enumerate(Split)}
ROWS_PER_BATCH = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedFile:
    """A file that is not an image of the data set, and why."""

    path: str
    reason: str


class DuplicatePathError(LayoutError):
    """A data set lists an image twice.

    Attributes:
        path: of the image, relative to the data set's folder.
    """

    def __init__(self, path: str, *, root: Path) -> None:
        self.path = path
        super().__init__(f"{root / path} is listed a second time; remove one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIndex:
    """All images of a data set by split, and the files that are not among them.

    Attributes:
        layout: its name.
        root: the data set's folder.
        splits: of each split that has images, in the order of `Split`, a table sorted by path:
            path (relative to the folder, with slashes), identity (from 1; 0 is a distractor, -1
            junk), camera, track, time. Of these last four each is known for all images of a split
            or for none; unknown is null.
        skipped: files that are not imported, by reason, then by path.
        without_val: whether the authors' validation list was left out of the train split.
        without_unreadable: whether images that cannot be read were left out, if there were any.
        cut_test: share of the identities that `cut_test_splits` made query and gallery of; 0: none.
        options: of the layout, by their names on the command line.
        camera_names: number -> name of each camera, where the data set has names.
        identity_names: likewise.
        notes: what a user should know about how the data set was understood.
    """

    layout: str
    root: Path
    splits: Mapping[Split, pa.Table]
    skipped: tuple[SkippedFile, ...]
    without_val: bool = False
    without_unreadable: bool = False
    cut_test: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)
    camera_names: Mapping[int, str] = field(default_factory=dict)
    identity_names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(images.num_rows for images in self.splits.values())

    def shuffled(self, split: Split) -> pa.Table:
        """The images of a split in the order of a hash of their paths.

        So neighbouring rows give no hint of who is who, and adding an image moves no other.
        """
        images = self.splits[split]
        hashes = np.fromiter(
            (_hash(path.as_py()) for path in images["path"]), np.uint64, images.num_rows
        )
        return images.take(pa.array(np.argsort(hashes, kind="stable")))


class IndexBuilder:
    """Collects the files of a data set in any order; `build` sorts them.

    Args:
        layout: its name.
        root: the data set's folder.
        without_val: whether the authors' validation list is left out of the train split.
    """

    def __init__(self, *, layout: str, root: Path, without_val: bool = False) -> None:
        self.root = root
        self._layout = layout
        self._without_val = without_val
        self._rows: list[tuple[str, int | None, int | None, int | None, int | None, int]] = []
        self._batches: list[pa.RecordBatch] = []
        self._skipped: list[SkippedFile] = []

    def add(
        self,
        path: str,
        *,
        split: Split,
        identity: int | None,
        camera: int | None,
        track: int | None = None,
        time: int | None = None,
    ) -> None:
        """Add an image.

        Args:
            path: relative to the data set's folder.
            split: that it belongs to.
            identity: from 1; 0 is a distractor, -1 junk; None: unknown.
            camera: None: unknown.
            track: number of the tracklet it is from, whose images show one person; None: unknown.
            time: when it was taken, see `ImageTable.times`; None: unknown.

        Raises:
            LayoutError: the path is not UTF-8, or a number is too large for a shard.
        """
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise LayoutError(
                f"{str(self.root / path)!a} has a name that is not UTF-8; rename it"
            ) from error
        values = {"identity": identity, "camera": camera, "track": track, "time": time}
        for name, number in values.items():
            if number is not None and number > LARGEST[name]:
                raise LayoutError(
                    f"{self.root / path} has {name} {number}, which is too large; the largest is "
                    f"{LARGEST[name]}"
                )
        self._rows.append((path, identity, camera, track, time, SPLIT_CODES[split]))
        if len(self._rows) == ROWS_PER_BATCH:
            self._flush()

    def skip(self, path: str, reason: str) -> None:
        """Note a file that is not imported, by its path relative to the data set's folder."""
        self._skipped.append(SkippedFile(path=path, reason=reason))

    def build(self) -> DatasetIndex:
        """Return the index; the builder is empty afterwards.

        Raises:
            DuplicatePathError: an image was added twice.
            DataError: something is known of some images of a split only, or query or gallery have
                no identities.
        """
        self._flush()
        images = pa.Table.from_batches(self._batches, SCHEMA)
        self._batches = []  # so that no more than two tables are in memory at once
        return DatasetIndex(
            layout=self._layout,
            root=self.root,
            splits=split_images(images, root=self.root),
            skipped=sorted_files(self._skipped),
            without_val=self._without_val,
        )

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [[]] * len(SCHEMA)
        self._batches.append(pa.record_batch(columns, schema=SCHEMA))
        self._rows = []


def split_images(images: pa.Table, *, root: Path) -> dict[Split, pa.Table]:
    """The `splits` of a `DatasetIndex` from all of its images, in any order, as in `SCHEMA`.

    Raises:
        DuplicatePathError: an image is there twice.
        DataError: something is known of some images of a split only.
    """
    images = images.sort_by("path")
    if (repeated := first_repeated(images["path"])) is not None:
        raise DuplicatePathError(images["path"][repeated].as_py(), root=root)
    codes = numbers(images["split"])
    images = images.select(COLUMNS)
    by_split = {
        split: images.filter(pa.array(codes == code)) for split, code in SPLIT_CODES.items()
    }
    for split, table in by_split.items():
        _check_known(table, split=split, root=root)
    return {split: table for split, table in by_split.items() if table.num_rows}


def sorted_files(skipped: Iterable[SkippedFile]) -> tuple[SkippedFile, ...]:
    """Sort skipped files by reason, then by path."""
    return tuple(sorted(skipped, key=attrgetter("reason", "path")))


def first_repeated(values: pa.ChunkedArray) -> int | None:
    """Where a sorted column first has the value of the row before; None if it never does."""
    pairs = [values.slice(1), values.slice(0, max(len(values) - 1, 0))]
    row = pc.index(pc.call_function("equal", pairs), True).as_py()
    return None if row < 0 else row + 1


def check_index(index: DatasetIndex) -> DatasetIndex:
    """Return an index if a domain can be made of it.

    Raises:
        LayoutError: it has neither a train split nor query and gallery, or only one of those two.
    """
    if (Split.QUERY in index.splits) != (Split.GALLERY in index.splits):
        raise LayoutError(
            f"{index.root} has only one of query and gallery; a domain has both or neither"
        )
    if not index.splits:
        raise LayoutError(f"{index.root} has no images; check the folder and the layout")
    return index


def _check_known(images: pa.Table, *, split: Split, root: Path) -> None:
    if split in (Split.QUERY, Split.GALLERY) and images["identity"].null_count:
        raise DataError(
            f"{split} of {root} has images without an identity; a test needs them: give each "
            "its identity (0 is a distractor, -1 junk), or leave the split out"
        )
    for name in ("identity", "camera", "track", "time"):
        column = images[name]
        if not 0 < column.null_count < len(column):
            continue
        without = images.filter(column.is_null())["path"]
        named = ", ".join(without.slice(0, NUM_NAMED).to_pylist())
        raise DataError(
            f"{column.null_count:,} of {len(column):,} images of {split} in {root} have no {name} "
            f"({named}{', …' if len(without) > NUM_NAMED else ''}). It is known for all images of "
            f"a split or for none: move these away, give each its {name}, or give none"
        )


def _hash(path: str) -> int:
    # 64 bits of the SHA-256: among 100 million images two are equal once in 4,000 data sets, and
    # those two are then in the order of their paths.
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big")
