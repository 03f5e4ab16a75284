"""DukeMTMC-reID is read only after its notice; the names here are made up by its rule."""

from pathlib import Path

import pytest

from daam.dataset.importing.layouts import read_layout
from daam.errors import LayoutError
from tests.support.layout_trees import found, make_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(
        tmp_path,
        "bounding_box_train/0001_c2_f0000101.jpg",
        "bounding_box_train/0001_c8_f0000102.jpg",
        "query/0002_c1_f0000103.jpg",
        "bounding_box_test/0002_c3_f0000104.jpg",
        "bounding_box_test/Thumbs.db",
    )


def test_it_is_refused_with_the_notice_before_anything_is_read(root: Path) -> None:
    for place in (root, root / "gone"):
        with pytest.raises(LayoutError, match=r"withdrawn by its authors in 2019 over .*privacy"):
            read_layout("dukemtmc", place)


def test_it_is_read_after_the_notice_was_acknowledged(root: Path) -> None:
    index = read_layout("dukemtmc", root, acknowledge_withdrawal=True)
    assert found(index) == {
        ("train", "bounding_box_train/0001_c2_f0000101.jpg", 1, 2),
        ("train", "bounding_box_train/0001_c8_f0000102.jpg", 1, 8),
        ("query", "query/0002_c1_f0000103.jpg", 2, 1),
        ("gallery", "bounding_box_test/0002_c3_f0000104.jpg", 2, 3),
    }
    assert [file.reason for file in index.skipped()] == ["not an image file"]


def test_nothing_of_daam_leads_to_it() -> None:
    source = Path(__file__).parents[4] / "daam"
    text = "".join(path.read_text().lower() for path in source.rglob("*.py"))
    assert "dukemtmc" in text
    assert "duke.edu" not in text
    assert "dukemtmc-reid.zip" not in text
