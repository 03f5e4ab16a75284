"""PersonX: one background or several of them, which share their people."""

from pathlib import Path

import pytest

from daam.dataset.importing.layouts import read_layout
from daam.errors import DataError, LayoutError
from tests.support.layout_trees import found, make_tree

BACKGROUND = (
    "bounding_box_train/0004_c{0}s1_01.jpg",
    "query/0001_c{0}s1_32.jpg",
    "bounding_box_test/0001_c{0}s1_01.jpg",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = [f"{subset}/{name.format(subset)}" for subset in (1, 6, 12) for name in BACKGROUND]
    return make_tree(tmp_path, *names, "readme.txt", "6/query/Thumbs.db")


def test_the_people_of_all_backgrounds_are_one_set_with_a_camera_each(root: Path) -> None:
    index = read_layout("personx", root)
    expected = set()
    for camera in (1, 6, 12):
        expected |= {
            ("train", f"{camera}/bounding_box_train/0004_c{camera}s1_01.jpg", 4, camera),
            ("query", f"{camera}/query/0001_c{camera}s1_32.jpg", 1, camera),
            ("gallery", f"{camera}/bounding_box_test/0001_c{camera}s1_01.jpg", 1, camera),
        }
    assert found(index) == expected
    assert [(file.path.as_posix(), file.reason) for file in index.skipped()] == [
        ("6/query/Thumbs.db", "not an image file")
    ]


def test_one_folder_with_several_backgrounds_is_read_as_it_is(tmp_path: Path) -> None:
    names = [name.format(camera) for camera in (3, 4, 10) for name in BACKGROUND]
    index = read_layout("personx", make_tree(tmp_path, *names))
    assert {camera for *_, camera in found(index)} == {3, 4, 10}
    assert {split for split, *_ in found(index)} == {"train", "query", "gallery"}


def test_one_background_alone_cannot_be_matched(root: Path) -> None:
    with pytest.raises(DataError, match="camera 6 only"):
        read_layout("personx", root / "6")


def test_subsets_that_share_a_camera_are_refused(root: Path) -> None:
    make_tree(root, *[f"subset5/{name.format(6)}" for name in BACKGROUND])
    with pytest.raises(LayoutError, match=r"/6 and .*/subset5 both have images of camera 6"):
        read_layout("personx", root)


def test_the_person_of_no_number_is_refused_in_train(root: Path) -> None:
    make_tree(root, "1/bounding_box_train/0000_c1s1_01.jpg")
    with pytest.raises(LayoutError, match="belong in 1/bounding_box_test only"):
        read_layout("personx", root)
