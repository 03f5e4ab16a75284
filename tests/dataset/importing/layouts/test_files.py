"""Stray files in a data set's folder are skipped or reported, whatever they are."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daam.dataset.importing.layouts import read_layout
from daam.errors import LayoutError
from tests.support.layout_trees import found, make_tree, skipped

MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s1_000451_03.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/0001_c2s1_000301_00.jpg",
)
PEOPLE = ("a/000000_s00_c00_f000264.jpg", "b/000000_s00_c01_f001632.jpg")


@pytest.mark.parametrize("layout", ["market1501", "randperson"])
def test_links_to_themselves_and_through_files_are_no_images(tmp_path: Path, layout: str) -> None:
    names = MARKET if layout == "market1501" else PEOPLE
    root = make_tree(tmp_path / "set", *names)
    folder = (root / names[0]).parent
    (folder / "self").symlink_to("self")
    (folder / "through").symlink_to(f"{names[0].rpartition('/')[2]}/x")
    (folder / "up").symlink_to("..")
    index = read_layout(layout, root)
    assert {path for _, path, _, _ in found(index)} == set(names)
    reasons = {path.rpartition("/")[2]: reason for path, reason in skipped(index)}
    if layout == "market1501":
        assert reasons == {
            "self": "not an image file",
            "through": "not an image file",
            "up": "a folder",
        }
    else:  # which walks through folders, not through links
        assert reasons == {}


def test_links_to_images_are_images(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "set", *MARKET[:-1], "elsewhere.jpg")
    link = root / MARKET[-1]
    link.parent.mkdir()
    link.symlink_to("../elsewhere.jpg")
    assert {path for _, path, _, _ in found(read_layout("market1501", root))} == set(MARKET)


def test_a_wrong_root_with_a_broken_link_is_reported_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("self")
    make_tree(tmp_path / "set", *MARKET)
    with pytest.raises(LayoutError, match=rf"did you mean --root {tmp_path / 'set'}\?"):
        read_layout("market1501", tmp_path)


def test_a_name_that_no_file_can_have_is_not_there(tmp_path: Path) -> None:
    name = "n" * 300 + ".jpg"
    (tmp_path / "index.csv").write_text(f"path,identity,camera,split\n{name},1,1,train\n")
    with pytest.raises(LayoutError, match=r"line 2: .* is not there"):
        read_layout("csv", tmp_path)


# In a process of its own, which may not read more than others may if it is root.
READ = """
    import sys
    from pathlib import Path
    from daam.dataset.importing.layouts import read_layout
    from daam.errors import DaamError

    layout, root = sys.argv[1:]
    try:
        index = read_layout(layout, Path(root))
        print(len(index), *(f"{file.path}: {file.reason}" for file in index.skipped))
    except DaamError as error:
        print(error)
"""
AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def read_as_others(layout: str, root: Path) -> str:
    prefix = AS_OTHERS if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*prefix, sys.executable, "-c", textwrap.dedent(READ), layout, str(root)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def closed_to_all() -> Iterator[Callable[[Path], None]]:
    """A function that takes all permissions from a folder, until the test has ended."""
    folders: list[Path] = []

    def close(folder: Path) -> None:
        folder.chmod(0)
        folders.append(folder)

    yield close
    for folder in folders:
        folder.chmod(0o700)


def can_read_as_others() -> bool:
    if os.geteuid() != 0:
        return True
    if shutil.which(AS_OTHERS[0]) is None:
        return False
    return subprocess.run([*AS_OTHERS, "true"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(
    not can_read_as_others(),
    reason="root may read everything, and setpriv (util-linux) is not there to keep it from that",
)
def test_folders_without_permission_are_reported(
    tmp_path: Path, closed_to_all: Callable[[Path], None]
) -> None:
    people = make_tree(tmp_path / "people", *PEOPLE)
    (people / "lost+found").mkdir()
    closed_to_all(people / "lost+found")
    assert read_as_others("randperson", people) == ("2 lost+found: a folder that may not be read")
    market = make_tree(tmp_path / "market", *MARKET)
    closed_to_all(market / "query")
    assert read_as_others("market1501", market) == (
        f"cannot read {market / 'query'}: Permission denied; change its permissions"
    )
    listed = tmp_path / "listed"
    make_tree(listed / "closed", "1.jpg")
    (listed / "index.csv").write_text("path,identity,camera,split\nclosed/1.jpg,1,1,train\n")
    closed_to_all(listed / "closed")
    assert "closed/1.jpg is not there" in read_as_others("csv", listed)
