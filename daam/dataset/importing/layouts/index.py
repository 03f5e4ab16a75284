"""What every layout is turned into, and the rules that hold for all of them."""

import hashlib
import weakref
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import Any, Self

from daam.dataset.importing.temporary import full_disk_told, temporary_tables
from daam.domains import Split
from daam.errors import DataError, LayoutError

# A file is an image, with a split, or skipped, with a reason. Paths are bytes, as a file system
# may have names that are no UTF-8; their order is that of the names. The place among shuffled
# images is the SHA-256 of the path.
SCHEMA = """
    CREATE TABLE files (
        path BLOB PRIMARY KEY, split TEXT, identity INTEGER, camera INTEGER, place BLOB, reason TEXT
    ) WITHOUT ROWID;
    CREATE TABLE moving (identity INTEGER PRIMARY KEY)
"""
NAMES_SCHEMA = "CREATE TABLE names (name TEXT PRIMARY KEY, path BLOB) WITHOUT ROWID"
# What shards have room for.
MOST = {"identity": 2**63 - 1, "camera": 2**31 - 1}
ROWS_AT_A_TIME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of a data set.

    Attributes:
        path: relative to the data set's folder.
        identity: the person, from 1; 0 is a distractor, -1 junk.
        camera: the number the data set gives it.
    """

    path: Path
    identity: int
    camera: int
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A person's images of one camera.

    Attributes:
        first: the first of them by path.
        num_images: how many there are.
    """

    identity: int
    camera: int
    first: Path
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedFile:
    """A file that is no image of the data set, and why."""

    path: Path
    reason: str


class DatasetIndex:
    """All images of a data set, and the files in it that are skipped.

    They are kept in a temporary file, so that memory stays the same for any number of them, and
    read from there whenever they are asked for. Iterating gives the images by split, then by path.
    Any number of threads may use an index; it is not to be changed while it is read.

    Attributes:
        layout: its name.
        root: the data set's folder.
        without_val: whether the authors' validation list was left out of the train split.

    All methods raise StorageError when the temporary file cannot be written.
    """

    def __init__(self, *, layout: str, root: Path, without_val: bool = False) -> None:
        self.layout = layout
        self.root = root
        self.without_val = without_val
        self._lock = RLock()
        with self._disk():
            self._tables = temporary_tables(SCHEMA)
        # At its exit the interpreter closes them itself, after whoever still reads.
        weakref.finalize(self, self._tables.close).atexit = False

    def __iter__(self) -> Iterator[ImageRecord]:
        return self.of(*Split)

    def __len__(self) -> int:
        return self.count(*Split)

    def add(self, record: ImageRecord) -> bool:
        """Take in an image; tells whether its path is new, and leaves what was there if not.

        Raises:
            LayoutError: the path is no UTF-8, or a number does not fit into a shard.
        """
        try:
            path = record.path.as_posix().encode()
        except UnicodeEncodeError as error:
            raise LayoutError(
                f"{str(self.root / record.path)!a} has a name that is no UTF-8; rename it"
            ) from error
        for what, number in (("identity", record.identity), ("camera", record.camera)):
            if number > MOST[what]:
                raise LayoutError(
                    f"{self.root / record.path} has {what} {number}, which is too large; "
                    f"{MOST[what]} is most"
                )
        place = hashlib.sha256(path).digest()
        return self._insert(path, record.split, record.identity, record.camera, place, None)

    def skip(self, path: Path, reason: str) -> bool:
        """Take in a file to skip; tells whether its path is new, and leaves what was there if not.

        Args:
            path: relative to the data set's folder.
        """
        return self._insert(_bytes_of(path), None, None, None, None, reason)

    def move(self, path: Path, split: Split) -> None:
        """Make an image one of another split."""
        with self._disk():
            self._tables.execute(
                "UPDATE files SET split = ? WHERE path = ?", (split, _bytes_of(path))
            )

    def move_people(self, people: Iterable[int], *, split: Split, to: Split) -> None:
        """Make all images that people have in a split ones of another split."""
        with self._disk():
            self._tables.executemany(
                "INSERT OR IGNORE INTO moving VALUES (?)", ((person,) for person in people)
            )
            self._tables.execute(
                "UPDATE files SET split = ? WHERE split = ? AND identity IN moving", (to, split)
            )
            self._tables.execute("DELETE FROM moving")

    def copy(self) -> Self:
        """Another index of the same files, to be changed on its own."""
        copy = type(self)(layout=self.layout, root=self.root, without_val=self.without_val)
        with self._disk():
            self._tables.commit()
            self._tables.backup(copy._tables)
        return copy

    def of(self, *splits: Split) -> Iterator[ImageRecord]:
        """The images of these splits, by split in the order of `Split`, then by path."""
        for split in Split:
            if split in splits:
                yield from self._images("WHERE split = ? ORDER BY path", split)

    def shuffled(self, split: Split) -> Iterator[ImageRecord]:
        """The images of a split by a hash of their names, in which neighbours are strangers."""
        return self._images("WHERE split = ? ORDER BY place", split)

    def shuffled_names(self, split: Split) -> Iterator[tuple[int, str]]:
        """Identity and path (with slashes) of each image, in the order of `shuffled`."""
        query = "SELECT identity, path FROM files WHERE split = ? ORDER BY place"
        return ((identity, path.decode()) for identity, path in self._rows(query, split))

    def people(self, split: Split) -> Iterator[int]:
        """The number of each person of a split, once."""
        rows = self._rows("SELECT DISTINCT identity FROM files WHERE split = ?", split)
        return (identity for (identity,) in rows)

    def sightings(self, split: Split) -> Iterator[Sighting]:
        """The cameras that saw each person of a split, by person, then by camera."""
        rows = self._rows(
            "SELECT identity, camera, min(path), count(*) FROM files WHERE split = ? "
            "GROUP BY identity, camera ORDER BY identity, camera",
            split,
        )
        for identity, camera, first, num_images in rows:
            yield Sighting(
                identity=identity, camera=camera, first=_path_of(first), num_images=num_images
            )

    def skipped(self) -> Iterator[SkippedFile]:
        """The files to skip, by reason, then by path."""
        rows = self._rows(
            "SELECT path, reason FROM files WHERE split IS NULL ORDER BY reason, path"
        )
        return (SkippedFile(path=_path_of(path), reason=reason) for path, reason in rows)

    def counts(self) -> dict[Split, int]:
        """How many images there are in each split that has one."""
        query = "SELECT split, count(*) FROM files WHERE split IS NOT NULL GROUP BY split"
        found = dict(self._rows(query))
        return {split: found[split] for split in Split if split in found}

    def count(self, *splits: Split) -> int:
        """How many images there are in these splits."""
        counts = self.counts()
        return sum(counts.get(split, 0) for split in splits)

    def cameras(self, *splits: Split) -> Iterator[int]:
        """Each camera that has an image in one of these splits, once."""
        marks = ", ".join("?" * len(splits))
        query = f"SELECT DISTINCT camera FROM files WHERE split IN ({marks})"  # noqa: S608
        return (camera for (camera,) in self._rows(query, *splits))

    def namesakes(self) -> tuple[Path, Path] | None:
        """Two images of one name in different folders, if there are any: the first by path."""
        with self._disk(), closing(temporary_tables(NAMES_SCHEMA)) as names:
            for record in self:
                row = (record.path.name, _bytes_of(record.path))
                if not names.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", row).rowcount:
                    select = "SELECT path FROM names WHERE name = ?"
                    (first,) = names.execute(select, row[:1]).fetchone()
                    return _path_of(first), record.path
        return None

    def _insert(self, *row: object) -> bool:
        with self._disk():
            insert = "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?, ?)"
            return self._tables.execute(insert, row).rowcount == 1

    def _images(self, which: str, *values: object) -> Iterator[ImageRecord]:
        # Both parts are written in this file; what comes from outside is in the values.
        query = f"SELECT path, split, identity, camera FROM files {which}"  # noqa: S608
        rows = self._rows(query, *values)
        for path, split, identity, camera in rows:
            yield ImageRecord(
                path=_path_of(path), identity=identity, camera=camera, split=Split(split)
            )

    def _rows(self, query: str, *values: object) -> Iterator[Any]:
        with self._disk():
            rows = self._tables.execute(query, values)
        try:
            while True:
                with self._disk():
                    some = rows.fetchmany(ROWS_AT_A_TIME)
                if not some:
                    return
                yield from some
        finally:
            with self._lock:
                rows.close()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        # SQLite may have been built for one thread at a time.
        with self._lock, full_disk_told(f"the list of files of {self.root}"):
            yield


def check_index(index: DatasetIndex) -> DatasetIndex:
    """Return an index that people can be searched in.

    Raises:
        LayoutError: it has neither a train split nor query and gallery, or only one of those two.
        DataError: its train split, or query and gallery together, come from a single camera, so
            that no person can be matched across cameras.
    """
    present = index.counts().keys()
    if (Split.QUERY in present) != (Split.GALLERY in present):
        raise LayoutError(
            f"{index.root} has only one of query and gallery; a domain has both or neither"
        )
    if not present:
        raise LayoutError(f"{index.root} has no images; check the folder and the layout")
    for name, splits in (
        ("train", (Split.TRAIN,)),
        ("query and gallery", (Split.QUERY, Split.GALLERY)),
    ):
        cameras = list(islice(index.cameras(*splits), 2))
        if len(cameras) == 1:
            raise DataError(
                f"{name} of {index.root} has images of camera {cameras[0]} only; people are "
                "matched across cameras, so at least two are needed"
            )
    return index


def _bytes_of(path: Path) -> bytes:
    return path.as_posix().encode(errors="surrogateescape")


def _path_of(path: bytes) -> Path:
    return Path(path.decode(errors="surrogateescape"))
