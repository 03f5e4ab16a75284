"""RandPerson: people counted from 0, cameras per scene, a folder or many."""

from pathlib import Path

import pytest

from daam.dataset.importing.layouts import read_layout
from daam.errors import LayoutError
from tests.support.layout_trees import found, make_tree, skipped


def test_the_subset_is_one_folder_for_training(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path,
        "000000_s00_c00_f000264.jpg",
        "000000_s00_c01_f001632.jpg",
        "007999_s10_c00_f000009.jpg",
        "007999_s10_c03_f3490001.jpg",
        "readme.txt",
    )
    index = read_layout("randperson", root)
    assert found(index) == {
        ("train", "000000_s00_c00_f000264.jpg", 1, 0),
        ("train", "000000_s00_c01_f001632.jpg", 1, 1),
        ("train", "007999_s10_c00_f000009.jpg", 8000, 1000),
        ("train", "007999_s10_c03_f3490001.jpg", 8000, 1003),
    }
    assert skipped(index) == [("readme.txt", "not an image file")]


def test_scenes_are_read_as_they_unpack_without_what_the_authors_sorted_out(
    tmp_path: Path,
) -> None:
    root = make_tree(
        tmp_path,
        "scene00/camera0_1/000000_s00_c00_f000264.jpg",
        "scene00/camera0_1_point.txt",
        "scene00/delete_camera0_1/000000_s00_c00_f000999.jpg",
        "scene00/delete_camera0_1/000003_s00_c00_f000998.jpg",
        "scene10/camera3_1/000001_s10_c03_f000001.jpg",
    )
    index = read_layout("randperson", root)
    assert found(index) == {
        ("train", "scene00/camera0_1/000000_s00_c00_f000264.jpg", 1, 0),
        ("train", "scene10/camera3_1/000001_s10_c03_f000001.jpg", 2, 1003),
    }
    assert [reason for _, reason in skipped(index)] == [
        "not an image file",
        "sorted out by the authors",
        "sorted out by the authors",
    ]


def test_the_subset_beside_its_scenes_is_refused(tmp_path: Path) -> None:
    name = "000000_s00_c00_f000264.jpg"
    root = make_tree(tmp_path, f"scene00/camera0_1/{name}", f"subset/{name}")
    with pytest.raises(LayoutError, match="are one image; --root is the subset or the scenes"):
        read_layout("randperson", root)


@pytest.mark.parametrize(
    "name", ["000000_c00_s00_f000264.jpg", "000000_s0_c0_f000264.jpg", "0000_s00_c00_f000264.jpg"]
)
def test_a_name_that_fits_no_rule_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(LayoutError, match=f"{name} is not named like 000000_s00_c00_"):
        read_layout("randperson", make_tree(tmp_path, name))
