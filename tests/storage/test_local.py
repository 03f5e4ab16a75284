"""A folder as a store: nothing half-written, and errors of the file system in words."""

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daam.dataset.cache import ShardCache
from daam.errors import StorageError
from daam.storage import open_store
from daam.storage.atomic import atomic_write
from daam.storage.local import LocalStore


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def chunks() -> Iterator[bytes]:
        yield b"new, first half"
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        atomic_write(path, chunks())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_publishes_nothing(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from daam.storage import open_store
        from daam.storage.atomic import atomic_write
        def chunks():
            yield b"x" * 1_000_000
            os.kill(os.getpid(), signal.SIGKILL)
        atomic_write(open_store({str(tmp_path)!r}).local_path("folder/key"), chunks())
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -9
    store = open_store(str(tmp_path))
    assert store.list() == []
    assert not store.exists("folder/key")


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        open_store(str(tmp_path)).write("key", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store = open_store(str(tmp_path / "file"))
    for operation in (
        lambda: store.write("key", b"x"),
        lambda: store.read("key"),
        lambda: store.list(),
    ):
        with pytest.raises(StorageError, match="folder"):
            operation()


def test_nothing_is_made_before_the_first_write(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "later"))
    assert store.list() == []
    assert not store.exists("key")
    assert not (tmp_path / "later").exists()


def test_an_upload_of_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing"):
        open_store(str(tmp_path)).upload(tmp_path / "nothing", "key")


@pytest.mark.parametrize("make", [LocalStore, ShardCache])
def test_the_home_folder_of_nobody_is_reported(make: Callable[[Path], object]) -> None:
    with pytest.raises(StorageError, match=r"~nobody-here/x.*does not know"):
        make(Path("~nobody-here/x"))
