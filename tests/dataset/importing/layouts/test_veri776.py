"""VeRi-776's names, and its queries, which are in the gallery too."""

import re
from pathlib import Path

import pytest

from daam.dataset.importing.layouts import read_layout
from daam.errors import LayoutError
from tests.support.layout_trees import found, make_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(
        tmp_path,
        "image_train/0001_c001_00016450_0.jpg",
        "image_train/0001_c016_00016460_1.jpg",
        "image_query/0002_c002_00030600_0.jpg",
        "image_test/0002_c002_00030600_0.jpg",
        "image_test/0776_c020_00084280_0.jpg",
        "name_query.txt",
        "jk_index.txt",
    )


def test_vehicle_and_camera_are_in_the_name(root: Path) -> None:
    assert found(read_layout("veri776", root)) == {
        ("train", "image_train/0001_c001_00016450_0.jpg", 1, 1),
        ("train", "image_train/0001_c016_00016460_1.jpg", 1, 16),
        ("query", "image_query/0002_c002_00030600_0.jpg", 2, 2),
        ("gallery", "image_test/0002_c002_00030600_0.jpg", 2, 2),
        ("gallery", "image_test/0776_c020_00084280_0.jpg", 776, 20),
    }


@pytest.mark.parametrize("name", ["0002_c02_00030600_0.jpg", "0002_c002_0003_0.jpg", "car.jpg"])
def test_a_name_that_fits_no_rule_is_named(root: Path, name: str) -> None:
    make_tree(root, f"image_test/{name}")
    with pytest.raises(LayoutError, match=f"{re.escape(name)} is not named like 0002_c002_"):
        read_layout("veri776", root)
