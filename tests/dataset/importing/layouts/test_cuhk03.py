"""CUHK03 in its new protocol, in the two conversions that people have."""

import json
from pathlib import Path

import pytest

from daam.dataset.importing.layouts import read_layout
from daam.errors import LayoutError
from tests.support.layout_trees import found, make_tree, skipped

# Identities as the conversion numbers them: again from 0 in train, where 0 and 1 are other people.
SPLIT = {
    "train": [["/home/a/cuhk03/images_labeled/1_001_1_01.png", 0, 0], ["1_001_2_06.png", 0, 1]],
    "query": [["C:\\data\\images_labeled\\5_049_1_01.png", 1, 0]],
    "gallery": [["images_labeled/5_049_2_10.png", 1, 1], ["images_labeled/2_001_2_07.png", 0, 1]],
    "num_train_pids": 1,
}
NAMES = ("1_001_1_01.png", "1_001_2_06.png", "5_049_1_01.png", "5_049_2_10.png", "2_001_2_07.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_listed(tmp_path)


def make_listed(folder: Path, split: object = None) -> Path:
    root = make_tree(folder / "images_labeled", *NAMES, "Thumbs.db", "1_002_1_01.png")
    (folder / "splits_new_labeled.json").write_text(json.dumps([split or SPLIT]))
    return root


def test_lists_tell_the_split_and_names_tell_pair_person_and_view(root: Path) -> None:
    index = read_layout("cuhk03", root)
    assert found(index) == {
        ("train", "1_001_1_01.png", 1001, 1),
        ("train", "1_001_2_06.png", 1001, 2),
        ("query", "5_049_1_01.png", 5049, 1),
        ("gallery", "5_049_2_10.png", 5049, 2),
        ("gallery", "2_001_2_07.png", 2001, 2),
    }
    assert dict(skipped(index)) == {
        "1_002_1_01.png": "in no list",
        "Thumbs.db": "not an image file",
    }


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_the_conversion_to_three_folders_has_everything_in_the_names(
    tmp_path: Path, boxes: str
) -> None:
    root = make_tree(
        tmp_path / "cuhk03-np" / boxes,
        "bounding_box_train/0001_c1_1.png",
        "bounding_box_train/0001_c2_6.png",
        "query/0003_c1_22.png",
        "bounding_box_test/1467_c2_14097.png",
    )
    assert found(read_layout("cuhk03", root)) == {
        ("train", "bounding_box_train/0001_c1_1.png", 1, 1),
        ("train", "bounding_box_train/0001_c2_6.png", 1, 2),
        ("query", "query/0003_c1_22.png", 3, 1),
        ("gallery", "bounding_box_test/1467_c2_14097.png", 1467, 2),
    }


def test_one_kind_of_boxes_must_be_chosen(root: Path) -> None:
    with pytest.raises(LayoutError, match="--root is images_labeled or images_detected, or labe"):
        read_layout("cuhk03", root.parent)


@pytest.mark.parametrize(
    ("split", "complaint"),
    [
        (SPLIT | {"query": [["5_049_2_10.png", 1, 1]]}, "lists 5_049_2_10.png a second time"),
        (SPLIT | {"query": [["5_049_2_09.png", 1, 1]]}, "5_049_2_09.png is listed but not there"),
        (SPLIT | {"query": [["person.png", 1, 1]]}, "not named like 1_001_1_01.png"),
        (SPLIT | {"query": [7]}, "not a list of one split"),
        ({"train": []}, "not a list of one split"),
        ([SPLIT], "not a list of one split"),
        (7, "not a list of one split"),
    ],
)
def test_a_wrong_list_is_named(tmp_path: Path, split: object, complaint: str) -> None:
    with pytest.raises(LayoutError, match=complaint):
        read_layout("cuhk03", make_listed(tmp_path, split))


def test_the_list_of_another_protocol_is_refused(root: Path) -> None:
    (root.parent / "splits_new_labeled.json").write_text(json.dumps([SPLIT] * 20))
    with pytest.raises(LayoutError, match="not a list of one split"):
        read_layout("cuhk03", root)


def test_a_missing_or_damaged_list_is_named(root: Path) -> None:
    split_list = root.parent / "splits_new_labeled.json"
    split_list.write_text("[{")
    with pytest.raises(LayoutError, match=r"splits_new_labeled\.json is not a list"):
        read_layout("cuhk03", root)
    split_list.unlink()
    with pytest.raises(LayoutError, match=r"cannot read .*splits_new_labeled\.json"):
        read_layout("cuhk03", root)
