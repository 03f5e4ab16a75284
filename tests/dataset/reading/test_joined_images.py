"""Tables that are joined read as each does alone, rows and shards numbered through."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from daam.dataset.reading.joined_images import JoinedImages, numbered_through
from tests.support.images_in_memory import make_images
from tests.support.known import known


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in shards of two, which notes what is fetched and released."""

    name: str
    num_rows: int
    cameras: np.ndarray | None
    tracks: np.ndarray | None = None
    asked: list[tuple[str, list[int]]] = field(default_factory=list)

    @property
    def shards(self) -> tuple[range, ...]:
        rows = range(self.num_rows)
        return tuple(rows[first : first + 2] for first in rows[::2])

    def jpegs(self, rows: np.ndarray) -> list[bytes]:
        return [f"{self.name}{row}".encode() for row in rows]

    def place(self, row: int) -> str:
        return f"row {row} of {self.name}"

    def prefetch(self, shard_numbers) -> None:
        self.asked.append(("prefetch", list(shard_numbers)))

    def release(self, shard_numbers) -> None:
        self.asked.append(("release", list(shard_numbers)))


@pytest.fixture
def tables() -> list[Table]:
    return [
        Table(name="a", num_rows=3, cameras=np.array([1, 5, 1])),
        Table(name="b", num_rows=4, cameras=np.array([1, 2, 2, 1])),
        Table(name="c", num_rows=1, cameras=np.array([7])),
    ]


def test_rows_in_any_order_and_with_repeats_are_those_of_their_table(tables):
    joined = JoinedImages(tables)
    assert joined.num_rows == 8
    every = [b"a0", b"a1", b"a2", b"b0", b"b1", b"b2", b"b3", b"c0"]
    rows = np.array([7, 0, 3, 3, 2, 6, 0])
    assert joined.jpegs(rows) == [every[row] for row in rows]
    assert joined.jpegs(np.empty(0, np.int64)) == []
    assert [joined.place(row) for row in (0, 2, 3, 7)] == [
        "row 0 of a",
        "row 2 of a",
        "row 0 of b",
        "row 0 of c",
    ]


@pytest.mark.parametrize("row", [-1, 8])
def test_a_row_outside_is_refused(tables, row):
    with pytest.raises(IndexError, match=rf"row {row} is not in \[0, 8\)"):
        JoinedImages(tables).jpegs(np.array([0, row]))


def test_no_two_tables_share_a_camera(tables):
    cameras = known(JoinedImages(tables).cameras)
    assert cameras.tolist() == [0, 1, 0, 2, 3, 3, 2, 4]


def test_cameras_are_unknown_if_one_table_does_not_know_them(tables):
    unknown = Table(name="d", num_rows=2, cameras=None)
    assert JoinedImages([*tables, unknown]).cameras is None
    assert JoinedImages(tables).tracks is None


def test_shards_are_fetched_and_released_in_their_own_table(tables):
    joined = JoinedImages(tables)
    assert joined.shards == (range(2), range(2, 3), range(3, 5), range(5, 7), range(7, 8))
    joined.prefetch([3, 0, 4, 2])
    joined.release([2])
    first, second, third = tables
    assert first.asked == [("prefetch", [0])]
    assert second.asked == [("prefetch", [1, 0]), ("release", [0])]
    assert third.asked == [("prefetch", [0])]


def test_one_table_alone_reads_as_it_is():
    table = make_images(5)
    rows = np.array([4, 0, 2])
    assert JoinedImages([table]).jpegs(rows) == table.jpegs(rows)


def test_columns_are_renumbered_in_their_order():
    found = numbered_through([np.array([9, 4, 9]), np.array([4, 4]), np.array([1, 0])])
    assert found.tolist() == [1, 0, 1, 2, 2, 4, 3]
    assert numbered_through([]).tolist() == []
