"""Layouts that are a folder per split and a rule for names; names here are made up by the rules."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from daam.dataset.importing.findings import findings
from daam.dataset.importing.layouts import read_layout
from daam.dataset.importing.layouts.rules import MARKET_FOLDERS
from daam.domains import Split
from daam.errors import LayoutError
from tests.support.layout_trees import found, make_tree, records, skipped


def test_market_reads_identity_camera_and_split_from_names_and_folders(small_market: Path) -> None:
    index = read_layout("market1501", small_market)
    images = records(index)
    assert Counter(image.split for image in images) == {"train": 48, "query": 12, "gallery": 30}
    for record in images:
        name = re.match(r"\w+/(-?\d+)_c(\d)", record.path)
        assert name is not None
        assert (record.identity, record.camera) == (int(name[1]), int(name[2]))
        assert (small_market / record.path).is_file()
    assert {record.identity for record in records(index, Split.GALLERY)} == {
        -1,
        0,
        101,
        102,
        103,
        104,
    }
    assert skipped(index) == [
        (f"{folder}/Thumbs.db", "not an image file")
        for folder in ("bounding_box_test", "bounding_box_train", "query")
    ]


def test_market_does_not_depend_on_the_order_of_the_folder(small_market: Path) -> None:
    before = read_layout("market1501", small_market)
    first = small_market / records(before)[0].path
    content = first.read_bytes()
    first.unlink()
    first.write_bytes(content)
    assert records(read_layout("market1501", small_market)) == records(before)


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
    assert ("query", f"query/{name}", identity, camera) in found(
        read_layout("market1501", small_market)
    )


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
def test_market_names_the_file_that_matches_no_rule(
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


@pytest.fixture
def veri776(tmp_path: Path) -> Path:
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


def test_vehicle_and_camera_are_in_the_names_of_veri776(veri776: Path) -> None:
    assert found(read_layout("veri776", veri776)) == {
        ("train", "image_train/0001_c001_00016450_0.jpg", 1, 1),
        ("train", "image_train/0001_c016_00016460_1.jpg", 1, 16),
        ("query", "image_query/0002_c002_00030600_0.jpg", 2, 2),
        ("gallery", "image_test/0002_c002_00030600_0.jpg", 2, 2),
        ("gallery", "image_test/0776_c020_00084280_0.jpg", 776, 20),
    }


@pytest.mark.parametrize("name", ["0002_c02_00030600_0.jpg", "0002_c002_0003_0.jpg", "car.jpg"])
def test_a_name_that_is_not_of_veri776_is_named(veri776: Path, name: str) -> None:
    make_tree(veri776, f"image_test/{name}")
    with pytest.raises(LayoutError, match=f"{re.escape(name)} is not named like 0002_c002_"):
        read_layout("veri776", veri776)


BACKGROUND = (
    "bounding_box_train/0004_c{0}s1_01.jpg",
    "query/0001_c{0}s1_32.jpg",
    "bounding_box_test/0001_c{0}s1_01.jpg",
)


@pytest.fixture
def personx(tmp_path: Path) -> Path:
    names = [f"{subset}/{name.format(subset)}" for subset in (1, 6, 12) for name in BACKGROUND]
    return make_tree(tmp_path, *names, "readme.txt", "6/query/Thumbs.db")


def test_the_people_of_all_backgrounds_of_personx_are_one_set_with_a_camera_each(
    personx: Path,
) -> None:
    index = read_layout("personx", personx)
    expected = set()
    for camera in (1, 6, 12):
        expected |= {
            ("train", f"{camera}/bounding_box_train/0004_c{camera}s1_01.jpg", 4, camera),
            ("query", f"{camera}/query/0001_c{camera}s1_32.jpg", 1, camera),
            ("gallery", f"{camera}/bounding_box_test/0001_c{camera}s1_01.jpg", 1, camera),
        }
    assert found(index) == expected
    assert skipped(index) == [("6/query/Thumbs.db", "not an image file")]


def test_one_folder_with_several_backgrounds_of_personx_is_read_as_it_is(tmp_path: Path) -> None:
    names = [name.format(camera) for camera in (3, 4, 10) for name in BACKGROUND]
    index = read_layout("personx", make_tree(tmp_path, *names))
    assert {camera for *_, camera in found(index)} == {3, 4, 10}
    assert {split for split, *_ in found(index)} == {"train", "query", "gallery"}


def test_one_background_of_personx_alone_cannot_be_matched(personx: Path) -> None:
    said = findings(read_layout("personx", personx / "6"))
    assert any("all train images are of one camera, 6" in line for line in said)
    assert any("no query has its person in the gallery under another" in line for line in said)


@pytest.mark.parametrize(
    ("there", "splits"),
    [
        (["bounding_box_train"], ["train"]),
        (["query", "bounding_box_test"], ["query", "gallery"]),
    ],
)
def test_market_may_be_train_alone_or_query_and_gallery(
    small_market: Path, there: list[str], splits: list[str]
) -> None:
    for folder in {*MARKET_FOLDERS} - {*there}:
        shutil.rmtree(small_market / folder)
    assert list(read_layout("market1501", small_market).splits) == splits


def test_subsets_of_personx_that_share_a_camera_are_refused(personx: Path) -> None:
    make_tree(personx, *[f"subset5/{name.format(6)}" for name in BACKGROUND])
    with pytest.raises(LayoutError, match=r"/6 and .*/subset5 both have images of camera 6"):
        read_layout("personx", personx)


def test_a_distractor_in_train_of_personx_is_refused(personx: Path) -> None:
    make_tree(personx, "1/bounding_box_train/0000_c1s1_01.jpg")
    with pytest.raises(LayoutError, match="belong in 1/bounding_box_test only"):
        read_layout("personx", personx)


@pytest.fixture
def dukemtmc(tmp_path: Path) -> Path:
    return make_tree(
        tmp_path,
        "bounding_box_train/0001_c2_f0000101.jpg",
        "bounding_box_train/0001_c8_f0000102.jpg",
        "query/0002_c1_f0000103.jpg",
        "bounding_box_test/0002_c3_f0000104.jpg",
        "bounding_box_test/Thumbs.db",
    )


def test_dukemtmc_is_refused_with_the_notice_before_anything_is_read(dukemtmc: Path) -> None:
    for place in (dukemtmc, dukemtmc / "gone"):
        with pytest.raises(LayoutError, match=r"withdrawn by its authors in 2019 over .*privacy"):
            read_layout("dukemtmc", place)


def test_dukemtmc_is_read_after_the_notice_was_acknowledged(dukemtmc: Path) -> None:
    index = read_layout("dukemtmc", dukemtmc, acknowledge_withdrawal=True)
    assert found(index) == {
        ("train", "bounding_box_train/0001_c2_f0000101.jpg", 1, 2),
        ("train", "bounding_box_train/0001_c8_f0000102.jpg", 1, 8),
        ("query", "query/0002_c1_f0000103.jpg", 2, 1),
        ("gallery", "bounding_box_test/0002_c3_f0000104.jpg", 2, 3),
    }
    assert skipped(index) == [("bounding_box_test/Thumbs.db", "not an image file")]


def test_nothing_of_daam_leads_to_dukemtmc() -> None:
    source = Path(__file__).parents[4] / "daam"
    text = "".join(path.read_text().lower() for path in source.rglob("*.py"))
    assert "dukemtmc" in text
    assert "duke.edu" not in text
    assert "dukemtmc-reid.zip" not in text
