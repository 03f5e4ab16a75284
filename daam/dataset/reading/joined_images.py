"""Images of several domains as one table, such as the sources of a transfer."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import numpy as np

from daam.dataset.pixels.decode import Jpeg
from daam.dataset.pixels.reader import ImageSource


class JoinedImages:
    """The images of some tables, one after the other: rows and shards are numbered through.

    Attributes:
        num_rows: N, of all tables.
        cameras: (N,) integers, renumbered so that no two tables share one; None if a table does
            not know its own.
        tracks: likewise.
        shards: the rows of each shard, in order.
    """

    def __init__(self, parts: Sequence[ImageSource]) -> None:
        self._parts = tuple(parts)
        self._first_rows = np.array([0, *accumulate(part.num_rows for part in parts)], np.int64)
        self._first_shards = [0, *accumulate(len(part.shards) for part in parts)]
        self.num_rows = int(self._first_rows[-1])
        self.cameras = _if_all_know([part.cameras for part in parts])
        self.tracks = _if_all_know([part.tracks for part in parts])
        self.shards = tuple(
            range(first + rows.start, first + rows.stop)
            for first, part in zip(self._first_rows.tolist(), parts, strict=False)
            for rows in part.shards
        )

    def jpegs(self, rows: np.ndarray) -> list[Jpeg]:
        """The JPEGs of rows, in their order and with repeats.

        Raises:
            IndexError: a row is not in [0, N).
            DataError, StorageError: as the tables do.
        """
        outside = rows[(rows < 0) | (rows >= self.num_rows)]
        if len(outside):
            raise IndexError(f"row {outside[0]} is not in [0, {self.num_rows})")
        numbers = self._part_of(rows)
        images: dict[int, Jpeg] = {}
        for number in np.unique(numbers).tolist():
            (places,) = np.nonzero(numbers == number)
            found = self._parts[number].jpegs(rows[places] - self._first_rows[number])
            images.update(zip(places.tolist(), found, strict=True))
        return [images[place] for place in range(len(rows))]

    def place(self, row: int) -> str:
        """Where a row is stored, in words: its row in a shard."""
        number = int(self._part_of(np.array([row]))[0])
        return self._parts[number].place(row - int(self._first_rows[number]))

    def prefetch(self, shard_numbers: Iterable[int]) -> None:
        """Fetch the rest of some shards in the background; returns at once."""
        for part, numbers in self._shards_by_part(shard_numbers):
            part.prefetch(numbers)

    def release(self, shard_numbers: Iterable[int]) -> None:
        """Let shards be evicted if the cache does not hold all of them; images stay valid."""
        for part, numbers in self._shards_by_part(shard_numbers):
            part.release(numbers)

    def _part_of(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._first_rows, rows, side="right") - 1

    def _shards_by_part(
        self, shard_numbers: Iterable[int]
    ) -> Iterator[tuple[ImageSource, list[int]]]:
        """Each table with its own numbers of the shards that are its."""
        wanted = list(shard_numbers)
        for number, part in enumerate(self._parts):
            first, end = self._first_shards[number : number + 2]
            if own := [shard - first for shard in wanted if first <= shard < end]:
                yield part, own


def numbered_through(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate columns of numbers, renumbered from 0 so that no two columns share one.

    Their order within a column is kept.
    """
    renumbered = []
    num_before = 0
    for column in columns:
        known, numbers = np.unique(column, return_inverse=True)
        renumbered.append(numbers + num_before)
        num_before += len(known)
    return np.concatenate([np.empty(0, np.int64), *renumbered])


def _if_all_know(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [column for column in columns if column is not None]
    return numbered_through(known) if len(known) == len(columns) else None
