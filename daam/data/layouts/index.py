"""What every layout is turned into, and the rules that hold for all of them."""

import hashlib
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from threading import RLock
from typing import Any, Self

from daam.data.temporary import full_disk_told, temporary_tables
from daam.domains import Split
from daam.errors import DataError, LayoutError

# A file is an image, with a split, or skipped, with a reason. Paths are bytes, as a file system
# may have names that are no UTF-8; their order is that of the names.
SCHEMA = """
    CREATE TABLE files (
        path BLOB PRIMARY KEY, split TEXT, identity INTEGER, camera INTEGER, reason TEXT
    ) WITHOUT ROWID
"""
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
class SkippedFile:
    """A file that is no image of the data set, and why."""

    path: Path
    reason: str


class DatasetIndex:
    """All images of a data set, and the files in it that are skipped.

    They are kept in a temporary file, so that memory stays the same for any number of them, and
    read from there whenever they are asked for. Iterating gives the images by split, then by path.
    Any number of threads may use an index.

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
        self._tables.create_function("sha256", 1, _sha256, deterministic=True)
        self._tables.create_function("name", 1, _name, deterministic=True)
        weakref.finalize(self, self._tables.close)

    def __iter__(self) -> Iterator[ImageRecord]:
        return self.of(*Split)

    def __len__(self) -> int:
        return self.count(*Split)

    def add(self, record: ImageRecord) -> bool:
        """Take in an image; tells whether its path is new, and leaves what was there if not.

        Raises:
            LayoutError: the path is no UTF-8.
        """
        try:
            path = record.path.as_posix().encode()
        except UnicodeEncodeError as error:
            raise LayoutError(
                f"{str(self.root / record.path)!a} has a name that is no UTF-8; rename it"
            ) from error
        return self._insert(path, record.split, record.identity, record.camera, None)

    def skip(self, path: Path, reason: str) -> bool:
        """Take in a file to skip; tells whether its path is new, and leaves what was there if not.

        Args:
            path: relative to the data set's folder.
        """
        return self._insert(_bytes_of(path), None, None, None, reason)

    def move(self, path: Path, split: Split) -> None:
        """Make an image one of another split."""
        with self._disk():
            self._tables.execute(
                "UPDATE files SET split = ? WHERE path = ?", (split, _bytes_of(path))
            )

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
        return self._images("WHERE split = ? ORDER BY sha256(path)", split)

    def shuffled_names(self, split: Split) -> Iterator[tuple[int, str]]:
        """Identity and path (with slashes) of each image, in the order of `shuffled`."""
        query = "SELECT identity, path FROM files WHERE split = ? ORDER BY sha256(path)"
        return ((identity, path.decode()) for identity, path in self._rows(query, split))

    def draw_people(self, split: Split, *, num: int, salt: str) -> Iterator[list[ImageRecord]]:
        """The images, by path, of each of `num` people of a split: those first by a hash.

        Args:
            salt: the hash is the SHA-256 of this, a space and the person's number.
        """
        images = self._images(
            "WHERE split = ?1 AND identity IN "
            "(SELECT identity FROM files WHERE split = ?1 GROUP BY identity "
            "ORDER BY sha256(CAST(?2 || ' ' || identity AS BLOB)) LIMIT ?3) "
            "ORDER BY identity, path",
            split,
            salt,
            num,
        )
        for _, group in groupby(images, key=lambda record: record.identity):
            yield list(group)

    def skipped(self) -> Iterator[SkippedFile]:
        """The files to skip, by reason, then by path."""
        rows = self._rows(
            "SELECT path, reason FROM files WHERE split IS NULL ORDER BY reason, path"
        )
        return (SkippedFile(path=_path_of(path), reason=reason) for path, reason in rows)

    def count(self, *splits: Split) -> int:
        """How many images there are in these splits."""
        return sum(
            next(self._rows("SELECT count(*) FROM files WHERE split = ?", split))[0]
            for split in splits
        )

    def num_people(self, split: Split) -> int:
        """How many numbers the people of a split have, those of distractors and junk included."""
        query = "SELECT count(DISTINCT identity) FROM files WHERE split = ?"
        return int(next(self._rows(query, split))[0])

    def cameras(self, *splits: Split) -> Iterator[int]:
        """Each camera that has an image in one of these splits, once."""
        marks = ", ".join("?" * len(splits))
        query = f"SELECT DISTINCT camera FROM files WHERE split IN ({marks})"  # noqa: S608
        return (camera for (camera,) in self._rows(query, *splits))

    def namesakes(self) -> tuple[Path, Path] | None:
        """Two images of one name in different folders, if there are any."""
        query = (
            "SELECT min(path), max(path) FROM files WHERE split IS NOT NULL "
            "GROUP BY name(path) HAVING count(*) > 1 ORDER BY min(path) LIMIT 1"
        )
        for first, other in self._rows(query):
            return _path_of(first), _path_of(other)
        return None

    def _insert(self, *row: object) -> bool:
        with self._disk():
            insert = "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?)"
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
        # SQLite waits for the interpreter where it calls our functions, and a thread that has the
        # interpreter would wait for SQLite.
        with self._lock, full_disk_told(f"the list of files of {self.root}"):
            yield


def check_index(index: DatasetIndex) -> DatasetIndex:
    """Return an index that people can be searched in.

    Raises:
        LayoutError: it has neither a train split nor query and gallery, or only one of those two.
        DataError: its train split, or query and gallery together, come from a single camera, so
            that no person can be matched across cameras.
    """
    present = {split for split in Split if index.count(split)}
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


def _sha256(path: bytes) -> bytes:
    return hashlib.sha256(path).digest()


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _bytes_of(path: Path) -> bytes:
    return path.as_posix().encode(errors="surrogateescape")


def _path_of(path: bytes) -> Path:
    return Path(path.decode(errors="surrogateescape"))
