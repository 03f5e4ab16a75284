"""What holds for every layout: which there are, what a refusal says, what a domain needs."""

import re
from pathlib import Path

import pytest

from daam.commands.data import LAYOUT_HELP
from daam.dataset.importing.layouts import LAYOUTS, read_layout
from daam.errors import DataError, LayoutError
from tests.support.layout_trees import make_tree

TREES = {
    "market1501": [
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "bounding_box_test/0001_c2s1_000301_00.jpg",
    ],
    "msmt17": [
        "bounding_box_train/0000_c11_0015.jpg",
        "query/0000_c9_0025.jpg",
        "bounding_box_test/0000_c6_0026.jpg",
    ],
    "cuhk03": [
        "bounding_box_train/0001_c1_1.png",
        "query/0003_c1_22.png",
        "bounding_box_test/0003_c2_27.png",
    ],
    "veri776": [
        "image_train/0001_c001_00016450_0.jpg",
        "image_query/0002_c002_00030600_0.jpg",
        "image_test/0002_c003_00084280_0.jpg",
    ],
    "randperson": ["000000_s00_c00_f000264.jpg"],
    "personx": [
        "1/bounding_box_train/0004_c1s1_01.jpg",
        "1/query/0001_c1s1_32.jpg",
        "1/bounding_box_test/0001_c1s1_01.jpg",
    ],
    "dukemtmc": [
        "bounding_box_train/0001_c2_f0000101.jpg",
        "query/0002_c1_f0000102.jpg",
        "bounding_box_test/0002_c3_f0000103.jpg",
    ],
}
# Any tree of images has the layout `folder`.
PAIRS = [(asked, there) for asked in LAYOUTS for there in TREES if asked not in (there, "folder")]


@pytest.mark.parametrize(("asked", "there"), PAIRS)
def test_the_folder_of_another_layout_is_named(tmp_path: Path, asked: str, there: str) -> None:
    root = make_tree(tmp_path, *TREES[there])
    with pytest.raises(LayoutError, match=rf"{re.escape(str(root))}.*looks like --layout {there}$"):
        read_layout(asked, root, acknowledge_withdrawal=asked == "dukemtmc")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["missing", "empty", "a file"])
def test_what_is_no_data_set_is_named_without_a_guess(
    tmp_path: Path, layout: str, kind: str
) -> None:
    root = tmp_path / "set"
    if kind == "empty":
        root.mkdir()
    elif kind == "a file":
        root.touch()
    with pytest.raises(LayoutError, match="set") as refused:
        read_layout(layout, root, acknowledge_withdrawal=layout == "dukemtmc")
    assert "looks like" not in str(refused.value)


def test_an_unknown_layout_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=", ".join(LAYOUTS)):
        read_layout("imagenet", tmp_path)


def test_the_command_names_every_layout() -> None:
    assert sorted(LAYOUT_HELP.rstrip(".").split(", ")) == sorted(LAYOUTS)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "msmt17"])
def test_only_msmt17_can_leave_a_validation_list_out(tmp_path: Path, layout: str) -> None:
    with pytest.raises(LayoutError, match=f"msmt17, not {layout}"):
        read_layout(layout, tmp_path, without_val=True, acknowledge_withdrawal=layout == "dukemtmc")


@pytest.mark.parametrize("there", TREES)
def test_a_layout_that_says_more_than_any_folder_is_noted(tmp_path: Path, there: str) -> None:
    root = make_tree(tmp_path, *TREES[there])
    notes = read_layout("folder", root).notes
    assert any(f"looks like --layout {there}," in note for note in notes)


def test_query_and_gallery_without_identities_are_refused(tmp_path: Path) -> None:
    make_tree(tmp_path, "q.png", "g.png")
    (tmp_path / "index.csv").write_text("path,split\nq.png,query\ng.png,gallery\n")
    with pytest.raises(DataError, match="has images without an identity; a test needs them"):
        read_layout("csv", tmp_path)


def test_query_without_gallery_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path, "q.png")
    (tmp_path / "index.csv").write_text("path,identity,camera,split\nq.png,9,1,query\n")
    with pytest.raises(LayoutError, match="only one of query and gallery"):
        read_layout("csv", tmp_path)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "dukemtmc"])
def test_an_acknowledgement_of_what_nobody_withdrew_is_refused(tmp_path: Path, layout: str) -> None:
    with pytest.raises(LayoutError, match=rf"acknowledge-withdrawal is for .*, not {layout}"):
        read_layout(layout, tmp_path, acknowledge_withdrawal=True)
