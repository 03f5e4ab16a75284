"""Market-1501's names, with those that circulate."""

import re
from collections import Counter
from pathlib import Path

import pytest

from daam.dataset.importing.layouts import read_layout
from daam.domains import Split
from daam.errors import LayoutError


def test_market_reads_identity_camera_and_split_from_names_and_folders(small_market: Path) -> None:
    index = read_layout("market1501", small_market)
    assert Counter(record.split for record in index) == {
        "train": 48,
        "query": 12,
        "gallery": 30,
    }
    for record in index:
        name = re.match(r"(-?\d+)_c(\d)", record.path.name)
        assert name is not None
        assert (record.identity, record.camera) == (int(name[1]), int(name[2]))
        assert (small_market / record.path).is_file()
    assert {record.identity for record in index.of(Split.GALLERY)} == {-1, 0, 101, 102, 103, 104}
    assert [(str(file.path), file.reason) for file in index.skipped()] == [
        (f"{folder}/Thumbs.db", "not an image file")
        for folder in ("bounding_box_test", "bounding_box_train", "query")
    ]


def test_market_does_not_depend_on_the_order_of_the_folder(small_market: Path) -> None:
    before = read_layout("market1501", small_market)
    first = small_market / next(iter(before)).path
    content = first.read_bytes()
    first.unlink()
    first.write_bytes(content)
    assert list(read_layout("market1501", small_market)) == list(before)


@pytest.mark.parametrize(
    ("name", "identity", "camera"),
    [
        ("0002_c1s1_000451_03.jpg", 2, 1),
        ("0002_c1s1_000451_03.jpg.jpg", 2, 1),
        ("1501_c6s4_001877_01.JPG", 1501, 6),
        ("12345_c15s1_000001_00.png", 12345, 15),
    ],
)
def test_market_takes_the_names_that_occur(
    small_market: Path, name: str, identity: int, camera: int
) -> None:
    (small_market / "query" / name).touch()
    records = {r.path.name: r for r in read_layout("market1501", small_market)}
    assert (records[name].identity, records[name].camera) == (identity, camera)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("person.jpg", "not named like 0002_c1s1_000451_03.jpg"),
        ("0002_c1_f0046182.jpg", "not named like"),
        ("2_c1s1_000451_03.jpg", "not named like"),
        ("-1_c1s1_000451_03.jpg", "belong in bounding_box_test"),
        ("0000_c1s1_000451_03.jpg", "belong in bounding_box_test"),
    ],
)
def test_market_names_the_file_that_fits_no_rule(
    small_market: Path, name: str, complaint: str
) -> None:
    (small_market / "query" / name).touch()
    with pytest.raises(LayoutError, match=f"{re.escape(name)} .*{complaint}"):
        read_layout("market1501", small_market)


def test_market_names_a_missing_or_empty_folder(small_market: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"did you mean --root .*market"):
        read_layout("market1501", tmp_path)
    for path in (small_market / "query").iterdir():
        path.unlink()
    with pytest.raises(LayoutError, match="query holds no image"):
        read_layout("market1501", small_market)
    (small_market / "query").rmdir()
    with pytest.raises(LayoutError, match=r"cannot read .*query: No such file"):
        read_layout("market1501", small_market)
