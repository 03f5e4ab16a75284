"""Two drivers on one folder: the second is refused, or takes over and the first writes no more."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from daam.errors import DriverError, FencedError, StorageError
from daam.runs import fences, lease
from daam.runs.fences import Owner, Turn
from daam.runs.lease import sole_driver
from daam.storage import Store, open_store
from tests.conftest import BUCKET
from tests.support.commands import Command, started_python

RENEWED_EVERY_S, DEAD_AFTER_S = 0.3, 3.0
DRIVE = f"""
import itertools, sys, time
from daam.errors import DaamError
from daam.runs import lease
from daam.storage import open_store

lease.RENEWED_EVERY_S = {RENEWED_EVERY_S}
try:
    with lease.sole_driver(open_store(sys.argv[1]), lock="study.lock", what="the study") as folder:
        for number in itertools.count():
            folder.write("state", f"first {{number}}".encode())
            print("writing", flush=True)
            time.sleep(0.05)
except DaamError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", RENEWED_EVERY_S)
    monkeypatch.setattr(lease, "DEAD_AFTER_S", DEAD_AFTER_S)
    monkeypatch.setattr(lease, "POLL_S", 0.05)
    monkeypatch.setattr(fences, "READ_BACK_AFTER_S", 0.1)


@pytest.fixture
def bucket(real_server: str) -> Store:
    """An empty place on each of two servers: one knows If-None-Match, one does not."""
    return open_store(f"s3://{BUCKET}/{uuid4().hex}")


def drive(folder: Store):
    return sole_driver(folder, lock="study.lock", what="the study")


@contextmanager
def first_driver(folder: Store, scratch: Path) -> Iterator[Command]:
    """A process that drives a folder and writes to it."""
    scratch.mkdir()
    script = scratch / "drive.py"
    script.write_text(DRIVE)
    with started_python(str(script), folder.uri, scratch=scratch / "out") as command:
        command.until(lambda: "writing" in command.out)
        yield command


def test_a_second_driver_is_refused_and_told_who_the_first_is(
    bucket: Store, tmp_path: Path
) -> None:
    with first_driver(bucket, tmp_path / "first") as first:
        expected = pytest.raises(
            DriverError,
            match=rf"running the study in .*\(process {first.process.pid} on .*since 20",
        )
        with expected, drive(bucket):
            pytest.fail("two drivers at once")


def test_a_driver_that_was_stopped_writes_nothing_after_another_has_taken_over(
    bucket: Store, tmp_path: Path
) -> None:
    with first_driver(bucket, tmp_path / "first") as first:
        first.process.send_signal(signal.SIGSTOP)
        with drive(bucket) as folder:
            folder.write("state", b"second")
            first.process.send_signal(signal.SIGCONT)
            finished = first.finished(within_s=30)
            assert bucket.read("state") == b"second"
            folder.write("state", b"second, still")
    assert finished.code == 1
    (line,) = finished.err.splitlines()
    assert "has taken over the study" in line
    assert "writes nothing more" in line
    assert bucket.read("state") == b"second, still"


def test_after_a_driver_that_was_killed_or_has_ended_nobody_waits(
    bucket: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with first_driver(bucket, tmp_path / "first") as first:
        first.process.kill()
        first.process.wait()
    monkeypatch.setattr(lease, "DEAD_AFTER_S", 1e6)
    for _ in range(2):
        with drive(bucket) as folder:
            folder.write("state", b"second")
    numbers = [fences.number_of(key) for key in bucket.list("study.lock/")]
    assert numbers == [3]


def test_a_driver_of_another_machine_is_dead_once_it_shows_no_sign(
    bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(fences, "this_machine", lambda: "elsewhere")
        turn = Turn(bucket, prefix="study.lock", what="the study")
        assert turn.take(after="", owner=Owner.this_process())
    begin = time.monotonic()
    with drive(bucket):
        assert time.monotonic() - begin >= DEAD_AFTER_S
        with pytest.raises(FencedError, match="has taken over the study"):
            turn.ensure_held()


def test_of_two_that_take_the_same_turn_one_has_it(bucket: Store) -> None:
    turns = [Turn(bucket, prefix="study.lock", what="the study") for _ in range(2)]
    taken = [turn.take(after="", owner=Owner.this_process()) for turn in turns]
    held = []
    for turn, is_taken in zip(turns, taken, strict=True):
        try:
            turn.ensure_held()
            held.append(is_taken)
        except FencedError:
            pass
    assert held == [True]


def test_a_folder_names_its_driver_too_and_the_lock_goes_with_it(tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "study"))
    with first_driver(folder, tmp_path / "first") as first:
        expected = pytest.raises(DriverError, match=rf"\(process {first.process.pid} on ")
        with expected, drive(folder):
            pytest.fail("two drivers at once")
        first.process.send_signal(signal.SIGSTOP)  # the kernel keeps the lock
        with expected, drive(folder):
            pytest.fail("two drivers at once")
    with drive(folder) as own:
        own.write("state", b"second")
        assert json.loads((tmp_path / "study" / "study.lock").read_text())["host"]
    assert folder.list() == ["state"]


def test_a_damaged_turn_counts_as_one(bucket: Store) -> None:
    bucket.write("study.lock/0007.json", b"{")
    with drive(bucket):
        assert [fences.number_of(key) for key in bucket.list("study.lock/")] == [8]


def test_a_lock_is_found_free_at_once_after_sigkill(tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "study"))
    with first_driver(folder, tmp_path / "first") as first:
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with drive(folder):
        pass
    assert not (tmp_path / "study" / "study.lock").exists()


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    own, folder = tmp_path / "own", open_store(str(tmp_path / "study"))
    own.write_bytes(b"data")
    folder.write("study.toml", b"")
    (tmp_path / "study" / "study.lock").symlink_to(own)
    with pytest.raises(StorageError, match=r"cannot write .*study\.lock"), drive(folder):
        pass
    assert own.read_bytes() == b"data"


def test_a_driver_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "study"))
    folder.write("trials/state", b"")
    left = tmp_path / "study" / "trials" / ".state.0123456789abcdef.partial"
    left.touch()
    with drive(folder):
        assert not left.exists()
    assert folder.list() == ["trials/state"]
