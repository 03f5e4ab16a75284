"""What a killed process left is removed by the next one; what a living process needs is kept."""

import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daam.storage import open_store
from daam.storage.atomic import atomic_file, remove_unfinished
from daam.storage.scratch import PREFIX, scratch_folder


@contextmanager
def process(program: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has printed its first line; it is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def test_a_scratch_folder_is_private_and_gone_after_its_block(tmp_path: Path) -> None:
    with scratch_folder(inside=tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_it_is_among_the_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.parent == tmp_path


def test_the_folder_of_a_killed_process_is_removed_and_a_living_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    program = f"""
        import time
        from pathlib import Path
        from daam.storage.scratch import scratch_folder
        with scratch_folder(inside=Path({str(tmp_path)!r})) as folder:
            (folder / "file").touch()
            print("ready", flush=True)
            time.sleep(600)
    """
    with process(program), scratch_folder(inside=tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
    (left,) = tmp_path.iterdir()
    with scratch_folder(inside=tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
        assert folder != left


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "file").touch()
    (tmp_path / f"{PREFIX}link").symlink_to("target")
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / "daam-0").mkdir()
    with scratch_folder(inside=tmp_path):
        assert len(list(tmp_path.iterdir())) == 5
    assert (tmp_path / "target" / "file").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_not_removed(tmp_path: Path) -> None:
    theirs = tmp_path / f"{PREFIX}theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with scratch_folder(inside=tmp_path):
        pass
    assert theirs.exists()


def test_an_unfinished_file_is_removed_once_its_writer_was_killed(tmp_path: Path) -> None:
    program = f"""
        import time
        from pathlib import Path
        from daam.storage.atomic import atomic_file
        with atomic_file(Path({str(tmp_path)!r}) / "deep" / "key") as file:
            print("ready", flush=True)
            time.sleep(600)
    """
    store = open_store(str(tmp_path))
    with process(program), atomic_file(tmp_path / "other"):
        assert store.remove_unfinished() == []
    (left,) = (tmp_path / "deep").iterdir()
    assert store.list() == ["other"]
    assert store.remove_unfinished() == [f"deep/{left.name}"]
    assert list((tmp_path / "deep").iterdir()) == []
    assert (tmp_path / "other").exists()


def test_the_next_writer_of_a_file_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "[a]*"
    left, others = tmp_path / ".[a]*.0123456789abcdef.partial", tmp_path / ".a.01.partial"
    left.touch()
    others.touch()
    with atomic_file(path) as first, atomic_file(path) as second:
        assert not left.exists()
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"  # both are published, the outer one last
    assert sorted(tmp_path.iterdir()) == [others, path]


def test_a_link_that_looks_like_an_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"data")
    (tmp_path / ".link.partial").symlink_to("target")
    assert remove_unfinished(tmp_path) == []
    assert (tmp_path / "target").read_bytes() == b"data"
