"""Images that are in query and gallery both, byte for byte."""

import hashlib
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from daam.dataset.importing.layouts import ImageRecord
from daam.dataset.importing.temporary import full_disk_told, temporary_tables
from daam.domains import JUNK, Split

DIGEST_BYTES = 16
NUM_NAMED = 3
WHAT = "the digests of the queries"
SCHEMA = """
    CREATE TABLE queries (digest BLOB PRIMARY KEY, path TEXT, identity INTEGER, camera INTEGER)
    WITHOUT ROWID
"""


class CopiesOfQueries:
    """Looks for them while images pass by, the queries first; keeps digests of queries on disk."""

    def __init__(self) -> None:
        with full_disk_told(WHAT):
            self._queries = temporary_tables(SCHEMA)
        weakref.finalize(self, self._queries.close).atexit = False
        self._named: list[tuple[Path, Path]] = []
        self._num_found = 0
        self._num_junk = 0

    def watched(
        self, images: Iterable[tuple[bytes, ImageRecord]]
    ) -> Iterator[tuple[bytes, ImageRecord]]:
        """The images (JPEG, what it is) as they are.

        Raises:
            StorageError: the disk does not take the digests.
        """
        for jpeg, record in images:
            if record.split == Split.QUERY:
                self._keep(jpeg, record)
            elif record.split == Split.GALLERY:
                self._look_up(jpeg, record)
            yield jpeg, record

    def report(self) -> str | None:
        """One line: how many gallery images are copies, the first of them, and what it means."""
        if not self._num_found:
            return None
        names = ", ".join(f"{copy} = {query}" for copy, query in self._named)
        more = ", ..." if self._num_found > len(self._named) else ""
        num_scored = self._num_found - self._num_junk
        return (
            f"gallery images that repeat a query byte for byte: {self._num_found} ({names}{more}); "
            + (
                f"{num_scored} of them not junk to it, so that scores count them: remove those"
                if num_scored
                else "all junk to it, by identity and camera, so that no score changes"
            )
        )

    def _keep(self, jpeg: bytes, query: ImageRecord) -> None:
        row = (_digest(jpeg), query.path.as_posix(), query.identity, query.camera)
        with full_disk_told(WHAT):
            self._queries.execute("INSERT OR IGNORE INTO queries VALUES (?, ?, ?, ?)", row)

    def _look_up(self, jpeg: bytes, copy: ImageRecord) -> None:
        select = "SELECT path, identity, camera FROM queries WHERE digest = ?"
        with full_disk_told(WHAT):
            query = self._queries.execute(select, (_digest(jpeg),)).fetchone()
        if query is None:
            return
        path, *who_and_where = query
        self._num_found += 1
        self._num_junk += who_and_where == [copy.identity, copy.camera] or copy.identity == JUNK
        if len(self._named) < NUM_NAMED:
            self._named.append((copy.path, Path(path)))


def _digest(jpeg: bytes) -> bytes:
    return hashlib.blake2b(jpeg, digest_size=DIGEST_BYTES).digest()
