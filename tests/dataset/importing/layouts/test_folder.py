"""A user's own folder: any tree, and what a pattern or the folders' names say about its images."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daam.dataset.importing.dataset_index import DatasetIndex
from daam.dataset.importing.layouts import read_layout
from daam.domains import Split
from daam.errors import DataError, LayoutError
from tests.support.layout_trees import make_tree, skipped

CROPS = ("cam1_000154_2fd3ea.jpg", "cam2_000179_b0c4ab.JPG", "cam1_000204_01c6d0.png")


def column(index: DatasetIndex, name: str) -> list[Any]:
    return index.splits[Split.TRAIN][name].to_pylist()


def test_any_tree_is_read_and_nothing_is_known_of_its_images(tmp_path: Path) -> None:
    names = ("a.jpg", "b/c/d.JPEG", "b/e f.webp", "ä/1.tif", "x.gif", "y.bmp")
    index = read_layout("folder", make_tree(tmp_path, *names))
    assert column(index, "path") == sorted(names)
    assert list(index.splits) == [Split.TRAIN]
    for name in ("identity", "camera", "track", "time"):
        assert column(index, name) == [None] * len(names)
    assert any("cameras are unknown: --pattern" in note for note in index.notes)


def test_other_and_hidden_files_and_links_to_folders_are_skipped(tmp_path: Path) -> None:
    names = ("a.jpg", "Thumbs.db", ".b.jpg", ".cache/c.jpg", "__MACOSX/._a.jpg")
    root = make_tree(tmp_path / "set", *names)
    (root / "link").symlink_to(tmp_path)
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    index = read_layout("folder", root)
    assert column(index, "path") == ["a.jpg"]
    assert skipped(index) == [
        ("gone.jpg", "a broken link"),
        ("link", "a link to a folder"),
        (".b.jpg", "hidden"),
        (".cache/c.jpg", "hidden"),
        ("__MACOSX/._a.jpg", "hidden"),
        ("Thumbs.db", "not an image file"),
    ]


def test_a_pattern_finds_camera_and_time(tmp_path: Path) -> None:
    root = make_tree(tmp_path, *CROPS)
    pattern = r"cam(?P<camera>\d+)_(?P<time>\d+)"
    index = read_layout("folder", root, pattern=pattern)
    assert column(index, "camera") == [1, 1, 2]
    assert column(index, "time") == [154, 204, 179]
    assert column(index, "identity") == [None] * 3
    assert index.options == {"pattern": pattern}
    assert index.notes == ()


@pytest.mark.parametrize("group", ["person", "identity", "pid"])
def test_a_pattern_searches_the_whole_path_for_people(tmp_path: Path, group: str) -> None:
    root = make_tree(tmp_path, "hall/anna/1.jpg", "hall/zoe/1.jpg", "door/anna/x/2.jpg")
    index = read_layout("folder", root, pattern=rf"^(?P<camera>[^/]+)/(?P<{group}>\w+)/")
    assert column(index, "identity") == [1, 1, 2]
    assert index.identity_names == {1: "anna", 2: "zoe"}
    assert column(index, "camera") == [1, 2, 2]
    assert index.camera_names == {1: "door", 2: "hall"}


def test_the_folder_of_an_image_is_its_person_or_its_camera(tmp_path: Path) -> None:
    root = make_tree(tmp_path, "day1/0007/1.jpg", "day2/0007/1.jpg", "day2/0009/1.jpg")
    assert column(read_layout("folder", root, identity="folder"), "identity") == [7, 7, 9]
    assert column(read_layout("folder", root, camera="folder"), "camera") == [7, 7, 9]
    both = read_layout("folder", root, identity="folder", pattern=r"^day(?P<camera>\d)")
    assert column(both, "camera") == [1, 2, 2]
    assert both.options == {"pattern": r"^day(?P<camera>\d)", "identity": "folder"}


def test_one_track_number_in_two_folders_or_cameras_is_two_tracks(tmp_path: Path) -> None:
    root = make_tree(tmp_path, "a/c1_t5_1.jpg", "a/c1_t5_2.jpg", "a/c2_t5_1.jpg", "b/c1_t5_1.jpg")
    index = read_layout("folder", root, pattern=r"c(?P<camera>\d)_t(?P<track>\d+)")
    first, again, other_camera, other_folder = column(index, "track")
    assert first == again
    assert len({first, other_camera, other_folder}) == 3


def test_a_pattern_finds_splits(tmp_path: Path) -> None:
    root = make_tree(tmp_path, "Train/a/1.jpg", "query/b/1.jpg", "gallery/b/2.jpg")
    index = read_layout("folder", root, identity="folder", pattern=r"^(?P<split>\w+)/")
    assert {split: table["path"].to_pylist() for split, table in index.splits.items()} == {
        "train": ["Train/a/1.jpg"],
        "query": ["query/b/1.jpg"],
        "gallery": ["gallery/b/2.jpg"],
    }


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        (r"cam(?P<camera>\d+", "is no regular expression: missing .*an example is 'cam"),
        (r"cam(\d+)", "has no named group; groups are camera, person, track, time and split"),
        (r"cam(?P<cmera>\d+)", "has a group 'cmera'; groups are camera"),
        (r"(?P<path>.*)", "has a group 'path'"),
        (r"c(?P<cam>\d)(?P<camera>\d)", "has two groups of one meaning"),
        (
            r"c(?P<camera>x)",
            r"matches none of the 3 images of .* paths there are like cam1_000154_2fd3ea.jpg, cam1",
        ),
        (
            r"cam(?P<camera>1)",
            r"does not match 1 of 3 images of .*: cam2_000179_b0c4ab.JPG; correct",
        ),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused(
    tmp_path: Path, pattern: str, complaint: str
) -> None:
    root = make_tree(tmp_path, *CROPS)
    with pytest.raises(LayoutError, match=complaint) as refused:
        read_layout("folder", root, pattern=pattern)
    assert f"--pattern '{pattern}'" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_group_that_matches_some_images_is_refused_with_the_others(tmp_path: Path) -> None:
    root = make_tree(tmp_path, "cam1_t3.jpg", "cam2.jpg", "cam2_t4.jpg")
    with pytest.raises(
        DataError, match=r"1 of 3 images of train .* no track \(cam2\.jpg\)\. It is"
    ):
        read_layout("folder", root, pattern=r"cam(?P<camera>\d)(_t(?P<track>\d+))?")


def test_images_in_no_folder_have_no_person(tmp_path: Path) -> None:
    root = make_tree(tmp_path, "anna/1.jpg", "2.jpg")
    with pytest.raises(DataError, match=r"1 of 2 images of train .* no identity \(2\.jpg\)"):
        read_layout("folder", root, identity="folder")


def test_an_option_that_finds_nothing_is_refused(tmp_path: Path) -> None:
    root = make_tree(tmp_path, *CROPS)
    with pytest.raises(LayoutError, match=r"no image of .* has a camera, although an option says"):
        read_layout("folder", root, camera="folder")
    with pytest.raises(LayoutError, match=r"no image of .* has a track, although"):
        read_layout("folder", root, pattern=r"cam(?P<camera>\d)(?P<track>_t\d+)?")


def test_what_is_said_twice_is_refused(tmp_path: Path) -> None:
    root = make_tree(tmp_path, "anna/1.jpg")
    with pytest.raises(LayoutError, match="both --pattern and --identity folder say"):
        read_layout("folder", root, identity="folder", pattern="(?P<person>.*)/")
    with pytest.raises(LayoutError, match="--camera is folder or left out, not 'hall'"):
        read_layout("folder", root, camera="hall")  # pyright: ignore[reportArgumentType]
    with pytest.raises(LayoutError, match="cannot be both its camera and its person"):
        read_layout("folder", root, identity="folder", camera="folder")


def test_a_folder_without_images_names_what_it_holds(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "set", "crops.zip", "sub/a.mp4")
    with pytest.raises(LayoutError, match=r"holds no image .*but 2 other files: crops.zip, sub/a"):
        read_layout("folder", root)


@pytest.mark.parametrize(
    ("option", "read"),
    [
        ("pattern", partial(read_layout, pattern="(?P<camera>x)")),
        ("camera", partial(read_layout, camera="folder")),
        ("identity", partial(read_layout, identity="folder")),
    ],
)
def test_options_of_a_folder_are_refused_for_other_layouts(
    tmp_path: Path, option: str, read: Callable[[str, Path], DatasetIndex]
) -> None:
    with pytest.raises(LayoutError, match=re.escape(f"--{option} is for the layout folder")):
        read("market1501", tmp_path)


def test_what_the_guide_says_to_write_fits_its_trees(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[4] / "docs/guides/import.md").read_text()
    rows = re.findall(r"^\| `([^`]+\.jpg)`[^|]* \| `(--[^`]+)` \|$", guide, re.MULTILINE)
    assert len(rows) == 7
    for number, (path, words) in enumerate(rows):
        root = make_tree(tmp_path / str(number), path, path.replace("query", "gallery"))
        given = iter(shlex.split(words))
        options: dict[str, Any] = {word.removeprefix("--"): next(given) for word in given}
        index = read_layout("folder", root, **options)
        for images in index.splits.values():
            known = {name for name in images.schema.names if not images[name].null_count}
            for name in ("camera", "identity", "track", "time"):
                said = name in options or re.search(rf"<({name})>", words)
                assert (name in known) == bool(said), (words, name)
