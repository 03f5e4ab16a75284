"""MSMT17's lists and trees, and the conversion to Market-1501's folders."""

from pathlib import Path

import pytest

from daam.dataset.importing.layouts import read_layout
from daam.errors import LayoutError
from tests.support.layout_trees import found, make_tree, skipped

MSMT17_LINES = {
    "list_train.txt": [
        "0000/0000_000_01_0303morning_0008_0.jpg 0",
        "0000/0000_001_14_0303noon_0015_1.jpg 0",
        "0001/0001_000_02_0113afternoon_0017_2_ex.jpg 1",
    ],
    "list_val.txt": ["0001/0001_001_15_0114noon_1439_0.jpg 1"],
    "list_query.txt": ["0000/0000_000_01_0303morning_0015_0.jpg 0"],
    "list_gallery.txt": [
        "0000/0000_001_12_0302noon_0016_0.jpg 0",
        "0002/0002_001_12_0302noon_0016_0.jpg 2",
    ],
}


def make_msmt17(root: Path, *, train: str, test: str) -> Path:
    for name, lines in MSMT17_LINES.items():
        tree = train if name in ("list_train.txt", "list_val.txt") else test
        make_tree(root / tree, *[line.split(" ")[0] for line in lines])
        (root / name).write_text("".join(f"{line}\n" for line in lines))
    return root


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("mask_train_v2", "mask_test_v2")], ids=["V1", "V2"]
)
def test_msmt17_reads_lists_and_two_digit_cameras(tmp_path: Path, train: str, test: str) -> None:
    root = make_msmt17(tmp_path, train=train, test=test)
    index = read_layout("msmt17", root)
    assert found(index) == {
        ("train", f"{train}/0000/0000_000_01_0303morning_0008_0.jpg", 1, 1),
        ("train", f"{train}/0000/0000_001_14_0303noon_0015_1.jpg", 1, 14),
        ("train", f"{train}/0001/0001_000_02_0113afternoon_0017_2_ex.jpg", 2, 2),
        ("train", f"{train}/0001/0001_001_15_0114noon_1439_0.jpg", 2, 15),
        ("query", f"{test}/0000/0000_000_01_0303morning_0015_0.jpg", 10_001, 1),
        ("gallery", f"{test}/0000/0000_001_12_0302noon_0016_0.jpg", 10_001, 12),
        ("gallery", f"{test}/0002/0002_001_12_0302noon_0016_0.jpg", 10_003, 12),
    }
    assert skipped(index) == []


def test_listed_images_may_lie_behind_links_to_folders(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "set", train="train", test="test")
    before = found(read_layout("msmt17", root))
    (root / "train" / "0000").rename(tmp_path / "elsewhere")
    (root / "train" / "0000").symlink_to(tmp_path / "elsewhere")
    index = read_layout("msmt17", root)
    assert found(index) == before
    assert skipped(index) == []


def test_msmt17_counts_files_in_no_list(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path, train="train", test="test")
    (root / "test" / "0000" / "0000_009_01_0303morning_0015_0.jpg").touch()
    (root / "train" / "Thumbs.db").touch()
    index = read_layout("msmt17", root)
    assert [reason for _, reason in skipped(index)] == ["in no list", "not an image file"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("0000/0000_000_1_0303morning_0008_0.jpg 0", "is not like"),
        ("0000_000_01_0303morning_0008_0.jpg 0", "is not like"),
        ("0000/0000_000_01_0303morning_0008_0.jpg", "is not like"),
        ("0000/0000_000_01_0303morning_0008_0.jpg 5", "two identities"),
        ("0000/0000_000_01_0303morning_9999_0.jpg 0", "listed but not there"),
        ("0000/0000_000_01_0303morning_0008_0.jpg 0", "a second time"),
    ],
)
def test_msmt17_names_the_wrong_line(tmp_path: Path, line: str, complaint: str) -> None:
    root = make_msmt17(tmp_path, train="train", test="test")
    with (root / "list_train.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(LayoutError, match=complaint):
        read_layout("msmt17", root)


def test_msmt17_names_what_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="train and test or mask_train_v2"):
        read_layout("msmt17", tmp_path)
    root = make_msmt17(tmp_path, train="train", test="test")
    (root / "list_val.txt").write_text("")
    with pytest.raises(LayoutError, match=r"list_val\.txt lists no image"):
        read_layout("msmt17", root)
    (root / "list_val.txt").unlink()
    with pytest.raises(LayoutError, match=r"cannot read .*list_val\.txt.*No such file"):
        read_layout("msmt17", root)


def test_msmt17_leaves_the_validation_list_out_and_counts_it(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path, train="train", test="test")
    everything = read_layout("msmt17", root)
    make_tree(root, "train/Thumbs.db")
    assert not read_layout("msmt17", root).without_val
    index = read_layout("msmt17", root, without_val=True)
    assert index.without_val
    assert skipped(index) == [
        ("train/0001/0001_001_15_0114noon_1439_0.jpg", "in list_val.txt"),
        ("train/Thumbs.db", "not an image file"),
    ]
    assert found(everything) - found(index) == {
        ("train", "train/0001/0001_001_15_0114noon_1439_0.jpg", 2, 15)
    }


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    return make_tree(
        tmp_path,
        "bounding_box_train/0000_c1_0008.jpg",
        "bounding_box_train/1040_c15_0015.jpg",
        "query/0000_c11_0015.jpg",
        "bounding_box_test/0000_c9_0025.jpg",
        "bounding_box_test/3059_c12_0026.jpg",
        "bounding_box_test/-1_c2_0027.jpg",
    )


def test_msmt17_in_market_folders_has_the_same_numbers(converted: Path) -> None:
    assert found(read_layout("msmt17", converted)) == {
        ("train", "bounding_box_train/0000_c1_0008.jpg", 1, 1),
        ("train", "bounding_box_train/1040_c15_0015.jpg", 1041, 15),
        ("query", "query/0000_c11_0015.jpg", 10_001, 11),
        ("gallery", "bounding_box_test/0000_c9_0025.jpg", 10_001, 9),
        ("gallery", "bounding_box_test/3059_c12_0026.jpg", 13_060, 12),
        ("gallery", "bounding_box_test/-1_c2_0027.jpg", -1, 2),
    }


def test_msmt17_in_market_folders_cannot_leave_the_validation_list_out(converted: Path) -> None:
    with pytest.raises(LayoutError, match=r"has no lists.*without --without-val"):
        read_layout("msmt17", converted, without_val=True)


def test_msmt17_in_market_folders_refuses_junk_outside_the_gallery(converted: Path) -> None:
    make_tree(converted, "query/-1_c2_0027.jpg")
    with pytest.raises(LayoutError, match="belong in bounding_box_test only"):
        read_layout("msmt17", converted)
