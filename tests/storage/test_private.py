"""What is private is so whatever the umask, and nothing is written through a link."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from daam.errors import StorageError
from daam.storage.local import LocalStore
from daam.storage.private import make_folder, open_own, own_folder

NOBODY = 12345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Files and folders are open to everybody, unless something says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_a_folder_is_made_private_with_its_parents_and_an_existing_one_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "shared").mkdir(mode=0o775)
    make_folder(tmp_path / "shared" / "a" / "b")
    assert mode_of(tmp_path / "shared") == 0o775
    assert mode_of(tmp_path / "shared" / "a") == mode_of(tmp_path / "shared" / "a" / "b") == 0o700


@pytest.mark.usefixtures("open_umask")
def test_a_store_is_private_unless_its_folder_existed(tmp_path: Path) -> None:
    runs = LocalStore(tmp_path / "runs")
    runs.folder("one", of="run").child("checkpoints").write("state", b"")
    assert mode_of(tmp_path / "runs") == mode_of(tmp_path / "runs" / "one") == 0o700
    # What is in it gets its permissions from the umask: one chmod of the folder shares it all.
    assert mode_of(tmp_path / "runs" / "one" / "checkpoints") == 0o777
    assert mode_of(tmp_path / "runs" / "one" / "checkpoints" / "state") == 0o666
    (tmp_path / "runs" / "two").mkdir(mode=0o750)
    runs.folder("two", of="run").create("deep/key", b"")
    assert mode_of(tmp_path / "runs" / "two") == 0o750
    assert mode_of(tmp_path / "runs" / "two" / "deep") == 0o777


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused_with_the_command(
    tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "its folder"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StorageError, match=f"^.*other users may write.*chmod go-w '{folder}'$"):
        own_folder(folder, instead="choose another")
    folder.chmod(mode & ~0o022)
    assert own_folder(folder, instead="choose another") == folder


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(StorageError, match=f"link is a link.*{tmp_path}/folder, or .*rm "):
        own_folder(tmp_path / "link", instead="choose another")


@as_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    with pytest.raises(StorageError, match="not a folder of yours; choose x"):
        own_folder(tmp_path, instead="choose x")


@pytest.mark.usefixtures("open_umask")
def test_a_file_is_opened_if_it_is_ones_own(tmp_path: Path) -> None:
    path, flags = tmp_path / "file", os.O_RDWR | os.O_CREAT
    os.close(open_own(path, flags))
    assert mode_of(path) == 0o600
    path.chmod(0o644)
    os.close(open_own(path, flags))
    path.chmod(0o664)
    with pytest.raises(PermissionError, match=f"is not a file that only you may write.*{path}"):
        open_own(path, flags)
    with pytest.raises(PermissionError, match="is not a file"):
        open_own(tmp_path, os.O_RDONLY)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(PermissionError, match="link, not followed"):
        open_own(tmp_path / "link", flags)
    assert not (tmp_path / "target").exists()


@as_root
def test_a_file_of_another_user_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o600)
    os.chown(tmp_path / "file", NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="is not a file that only you"):
        open_own(tmp_path / "file", os.O_RDONLY)
