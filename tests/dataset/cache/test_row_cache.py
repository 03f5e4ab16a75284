"""Images come through the cache as they were imported, each byte once, whatever happens to it."""

import fcntl
import logging
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daam.dataset.cache import ShardCache, fetching, filler, space
from daam.dataset.cache.locks import Turns, held
from daam.dataset.cache.space import CacheSpace, NoRoomError
from daam.dataset.format.manifest import read_manifest
from daam.dataset.reading.image_table import ImageTable, open_images
from daam.domains import Split
from daam.errors import ShardError, StorageError
from daam.storage import open_store
from daam.storage.s3 import S3Store
from tests.support.rows_on_s3 import RowsOnS3, once, put_rows, ranges_in, whole_shards

NUM_ROWS = 400
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def plaza(s3_server: object, tmp_path_factory: pytest.TempPathFactory) -> RowsOnS3:
    """A domain that no test changes."""
    store = open_store("s3://daam-tests/rows-for-the-cache")
    return put_rows(store, num_rows=NUM_ROWS, folder=tmp_path_factory.mktemp("rows"))


@pytest.fixture
def own(s3_uri: str, tmp_path: Path) -> RowsOnS3:
    """A small domain that a test may change."""
    folder = tmp_path / "own"
    folder.mkdir()
    return put_rows(open_store(s3_uri), num_rows=40, folder=folder)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process writes down which bytes it asks for."""
    path = tmp_path / "ranges"
    ranged = S3Store.read_range

    def read_range(self: S3Store, key: str, *, start: int, size: int) -> bytes:
        with path.open("a") as file:
            file.write(f"{key} {start} {size}\n")
        return ranged(self, key, start=start, size=size)

    monkeypatch.setattr(S3Store, "read_range", read_range)
    return path


def open_rows(rows: RowsOnS3, cache: Path, *, capacity_bytes: int | None = None) -> ImageTable:
    return open_images(
        rows.store,
        manifest=read_manifest(rows.store, "plaza"),
        splits=[Split.TRAIN],
        cache=ShardCache(cache, capacity_bytes=capacity_bytes),
    )


def keep_without_filling(images: ImageTable) -> None:
    """Let images that are asked for come into the cache, whatever its size, and no others."""
    images.fits_cache = images._fills = True


def wait_until_filled(images: ImageTable) -> None:
    """Return when nothing is fetched in the background any more."""
    deadline = time.monotonic() + TIMEOUT_S
    while images._filler._thread is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_right(rows: RowsOnS3, images: ImageTable) -> None:
    """Every row is the one that was imported, in an order that changes shards all the time."""
    order = np.random.default_rng(3).permutation(rows.num_rows)
    for part in np.array_split(order, 9):
        assert images.jpegs(part) == [rows.jpegs[row] for row in part]


def fill(rows: RowsOnS3, cache: Path) -> None:
    with open_rows(rows, cache) as images:
        images.jpegs(np.arange(1))
        wait_until_filled(images)


def test_four_processes_at_once_fetch_each_byte_of_a_shard_once(
    plaza: RowsOnS3, tmp_path: Path
) -> None:
    program = """
        images = open_rows()
        rows = np.random.default_rng(0).permutation(images.num_rows)
        print(digest(jpeg for part in np.array_split(rows, 12) for jpeg in images.jpegs(part)))
        fill(images)
    """
    cache, log = tmp_path / "cache", tmp_path / "log"
    processes = [plaza.reader(program, cache=cache, log=log) for _ in range(4)]
    said = [process.communicate(timeout=TIMEOUT_S)[0].strip() for process in processes]
    assert said == [plaza.digest(np.random.default_rng(0).permutation(NUM_ROWS))] * 4
    assert once(plaza.split.shards, log)
    assert whole_shards(cache) == sorted(entry.sha256 for entry in plaza.split.shards)
    assert not list((cache / "shards").glob("*.filling"))
    assert not list((cache / "shards").glob("*.pieces"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are seen on Linux only")
def test_a_whole_shard_takes_one_open_file(plaza: RowsOnS3, tmp_path: Path) -> None:
    with open_rows(plaza, tmp_path) as images:
        assert_right(plaza, images)
        wait_until_filled(images)
        paths = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
        of_shards = [path for path in paths if path.startswith(str(tmp_path / "shards"))]
        assert len(of_shards) == len(images.shards)
        assert_right(plaza, images)


def test_a_whole_cache_needs_no_shard(plaza: RowsOnS3, tmp_path: Path, log: Path) -> None:
    fill(plaza, tmp_path / "cache")
    assert once(plaza.split.shards, log)
    log.unlink()
    with open_rows(plaza, tmp_path / "cache") as images:
        assert_right(plaza, images)
        wait_until_filled(images)
    assert not log.exists()


def test_the_first_rows_cost_their_own_bytes_alone(
    plaza: RowsOnS3, tmp_path: Path, log: Path
) -> None:
    rows = np.random.default_rng(1).integers(0, NUM_ROWS, 16)
    with open_rows(plaza, tmp_path / "cache") as images:
        keep_without_filling(images)
        for _ in range(3):
            assert images.jpegs(rows) == [plaza.jpegs[row] for row in rows]
    fetched = sum(size for ranges in ranges_in(log).values() for _, size in ranges)
    assert fetched == sum(len(plaza.jpegs[row]) for row in set(rows.tolist()))
    assert fetched < 0.1 * plaza.size_bytes


def test_neighbours_are_fetched_together(plaza: RowsOnS3, tmp_path: Path, log: Path) -> None:
    capacity = plaza.size_bytes - 1
    with open_rows(plaza, tmp_path / "cache", capacity_bytes=capacity) as images:
        images.jpegs(np.array(images.shards[1]))
    assert [len(ranges) for ranges in ranges_in(log).values()] == [1]


def test_filling_starts_small_and_grows(
    plaza: RowsOnS3, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "FEWEST_BYTES", 1 << 14)
    monkeypatch.setattr(filler, "CHUNK_S", TIMEOUT_S)
    with open_rows(plaza, tmp_path / "cache") as images:
        images.jpegs(np.arange(1))
        wait_until_filled(images)
        assert_right(plaza, images)
    one, *filled = [int(line.split()[2]) for line in log.read_text().splitlines()]
    assert one == len(plaza.jpegs[0])
    assert filled[0] <= (1 << 14) + max(map(len, plaza.jpegs))
    assert max(filled) > 2 * filled[0]


def test_images_that_are_about_to_come_in_bulk_are_not_asked_for(
    plaza: RowsOnS3, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "MOST_BYTES", filler.FEWEST_BYTES)
    monkeypatch.setattr(filler, "TURN_S", 0)
    for name in ("SOON_S", "AWAIT_S", "PROBE_S"):
        monkeypatch.setattr(filler, name, TIMEOUT_S)
    monkeypatch.setattr(fetching, "AWAIT_S", TIMEOUT_S)
    half = np.arange(0, plaza.num_rows, 2)
    with open_rows(plaza, tmp_path / "cache") as images:
        images.jpegs(np.arange(1))
        assert images.jpegs(half) == [plaza.jpegs[row] for row in half]
        wait_until_filled(images)
        assert_right(plaza, images)
    assert once(plaza.split.shards, log)
    sizes = {int(line.split()[2]) for line in log.read_text().splitlines()}
    assert len(sizes.intersection(len(plaza.jpegs[row]) for row in half)) < 10


def test_the_rest_comes_soon_when_little_is_missing(plaza: RowsOnS3, tmp_path: Path) -> None:
    with open_rows(plaza, tmp_path / "cache") as images:
        keep_without_filling(images)
        images._filler._queue = dict.fromkeys(images._cached)
        assert images._filler._is_less(images.size_bytes + 1)
        assert not images._filler._is_less(images.size_bytes)
        images.jpegs(np.array(images.shards[0]))
        between = plaza.split.shards[0].size_bytes - sum(
            len(plaza.jpegs[row]) for row in images.shards[0]
        )
        left = images.size_bytes - plaza.split.shards[0].size_bytes + between
        assert images._filler._is_less(left + 1)
        assert not images._filler._is_less(left)


def test_what_never_comes_in_bulk_is_asked_for_after_one_wait(
    plaza: RowsOnS3, tmp_path: Path
) -> None:
    with open_rows(plaza, tmp_path / "cache") as images:
        images._fills = True  # so nothing comes
        images._fetcher.expect_rest(within_s=1)
        began = time.monotonic()
        for row in range(4):
            assert images.jpegs(np.array([row])) == [plaza.jpegs[row]]
        assert 1 <= time.monotonic() - began < 3
        assert_right(plaza, images)


def test_a_wait_has_an_end_however_often_it_is_said_that_the_rest_comes(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "AWAIT_S", 0.2)
    with open_rows(plaza, tmp_path / "cache") as images:
        images._fills = True  # so nothing comes
        images._fetcher.expect_rest(within_s=TIMEOUT_S)
        began = time.monotonic()
        assert images.jpegs(np.array([0])) == [plaza.jpegs[0]]
        assert 0.2 <= time.monotonic() - began < TIMEOUT_S / 2


def test_nobody_waits_for_what_comes_slowly(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "CHUNK_S", 0)  # no chunk comes in less
    monkeypatch.setattr(filler, "SOON_S", 0)
    monkeypatch.setattr(filler, "FEWEST_BYTES", 1 << 14)
    monkeypatch.setattr(filler, "PROBE_S", TIMEOUT_S)
    with open_rows(plaza, tmp_path / "cache") as images:
        images.jpegs(np.arange(1))
        began = time.monotonic()
        assert_right(plaza, images)
        assert time.monotonic() - began < TIMEOUT_S / 2
        wait_until_filled(images)


def test_a_cache_may_hold_as_many_files_open_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        ShardCache(tmp_path / "cache")
        most = space.MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, space.MANY_FILES)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = Turns(), []

    def take(number: int) -> None:
        with turns.taken(patience_s=TIMEOUT_S) as has_come:
            assert has_come
            order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    with turns.taken(patience_s=0) as has_come:
        assert has_come
        for number, thread in enumerate(threads):
            thread.start()
            while len(turns._queue) < number + 2:
                time.sleep(0.001)
        # Who loses patience goes without its turn, and is in nobody's way.
        with turns.taken(patience_s=0.01) as came_in_time:
            assert not came_in_time
    for thread in threads:
        thread.join()
    assert order == list(range(8))


@pytest.mark.parametrize(
    "moment",
    [
        # Half of the bytes of a piece are written; none is marked; all is there but the name;
        # the name is there, and the marks still too.
        "os.pwrite = lambda fd, data, at: (pwrite(fd, data[: len(data) // 2], at), die())",
        "os.pwrite = lambda fd, data, at: (pwrite(fd, data, at), die())",
        "os.fsync = lambda fd: die()",
        "Path.replace = lambda self, to: (os.rename(self, to), die())",
    ],
    ids=["in a write", "before the mark", "before the name", "after the name"],
)
def test_a_process_that_is_killed_leaves_nothing_wrong(
    plaza: RowsOnS3, tmp_path: Path, moment: str
) -> None:
    program = f"""
import signal
images = open_rows()
pwrite = os.pwrite
def die():
    os.kill(os.getpid(), signal.SIGKILL)
{moment}
images.jpegs(np.arange(8))
fill(images)
"""
    cache = tmp_path / "cache"
    killed = plaza.reader(program, cache=cache, log=tmp_path / "log")
    killed.communicate(timeout=TIMEOUT_S)
    assert killed.returncode == -9
    with open_rows(plaza, cache) as images:
        assert_right(plaza, images)
        wait_until_filled(images)
    assert whole_shards(cache) == sorted(entry.sha256 for entry in plaza.split.shards)


@pytest.mark.parametrize("damage", ["garbage", "zeros", "cut", "longer", "empty"])
@pytest.mark.parametrize("state", ["whole", "filling"])
def test_a_damaged_file_of_the_cache_is_mended(
    plaza: RowsOnS3, tmp_path: Path, damage: str, state: str
) -> None:
    cache = tmp_path / "cache"
    if state == "whole":
        fill(plaza, cache)
    else:
        with open_rows(plaza, cache) as images:
            keep_without_filling(images)
            images.jpegs(np.arange(0, NUM_ROWS, 40))
    suffix = {"whole": "*.arrow", "filling": "*.filling"}[state]
    for path in (cache / "shards").glob(suffix):
        data = path.read_bytes()
        damaged = {
            "garbage": os.urandom(len(data)),
            "zeros": bytes(len(data)),
            "cut": data[: len(data) // 2],
            "longer": data + b"x",
            "empty": b"",
        }[damage]
        path.write_bytes(damaged)
    for _ in range(2):
        with open_rows(plaza, cache) as images:
            assert_right(plaza, images)
            wait_until_filled(images)
    if (state, damage) not in {("whole", "garbage"), ("whole", "zeros")}:
        assert whole_shards(cache) == sorted(entry.sha256 for entry in plaza.split.shards)


@pytest.mark.parametrize("marks", [b"", b"\1" * 10, None])
def test_marks_that_cannot_be_right_are_not_believed(
    plaza: RowsOnS3, tmp_path: Path, marks: bytes | None
) -> None:
    cache = tmp_path / "cache"
    with open_rows(plaza, cache) as images:
        keep_without_filling(images)
        images.jpegs(np.arange(0, NUM_ROWS, 40))
    for path in (cache / "shards").glob("*.pieces"):
        if marks is None:  # as after a power cut that lost the images
            path.write_bytes(b"\1" * path.stat().st_size)
        else:
            path.write_bytes(marks)
    with open_rows(plaza, cache) as images:
        assert_right(plaza, images)
        wait_until_filled(images)
    assert whole_shards(cache) == sorted(entry.sha256 for entry in plaza.split.shards)


def test_an_image_that_is_wrong_in_the_store_is_named(own: RowsOnS3, tmp_path: Path) -> None:
    row = next(row for row, jpeg in enumerate(own.jpegs) if len(jpeg) > 100)
    entry = own.split.shards[0]
    data = bytearray(own.store.read(entry.key))
    data[data.index(own.jpegs[row]) + 50] ^= 1
    own.store.write(entry.key, bytes(data))
    with open_rows(own, tmp_path / "cache", capacity_bytes=own.size_bytes - 1) as images:
        for _ in range(2):
            with pytest.raises(ShardError, match=rf"row {row} of shard {entry.key}.*s3://.*repair"):
                images.jpegs(np.array([row, row + 1, 0]))
        rows = np.array([other for other in range(own.num_rows) if other != row])
        assert images.jpegs(rows) == [own.jpegs[other] for other in rows]


def test_a_shard_that_is_wrong_between_its_images_is_said_and_never_called_whole(
    own: RowsOnS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = own.split.shards[0]
    data = own.store.read(entry.key)
    own.store.write(entry.key, b"X" + data[1:])
    with open_rows(own, tmp_path / "cache") as images:
        assert_right(own, images)
        wait_until_filled(images)
    assert entry.key in caplog.text
    assert "damaged" in caplog.text
    assert whole_shards(tmp_path / "cache") == sorted(e.sha256 for e in own.split.shards[1:])


def test_a_shard_that_the_store_lacks_is_named(own: RowsOnS3, tmp_path: Path) -> None:
    entry = own.split.shards[0]
    own.store.delete(entry.key)
    with (
        open_rows(own, tmp_path / "cache") as images,
        pytest.raises(ShardError, match=rf"{entry.key} is missing"),
    ):
        images.jpegs(np.arange(own.num_rows))


def test_a_store_that_fails_halfway_keeps_what_came(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranged = S3Store.read_range
    rows = np.arange(0, NUM_ROWS, 20)
    failing = plaza.split.shards[-1].key

    def read_range(self: S3Store, key: str, *, start: int, size: int) -> bytes:
        if key == failing:
            raise StorageError("the server went away")
        return ranged(self, key, start=start, size=size)

    with open_rows(plaza, tmp_path / "cache") as images:
        keep_without_filling(images)
        with monkeypatch.context() as patch:
            patch.setattr(S3Store, "read_range", read_range)
            with pytest.raises(StorageError, match="went away"):
                images.jpegs(rows)
        asked: list[str] = []

        def counted(self: S3Store, key: str, *, start: int, size: int) -> bytes:
            asked.append(key)
            return ranged(self, key, start=start, size=size)

        monkeypatch.setattr(S3Store, "read_range", counted)
        assert images.jpegs(rows) == [plaza.jpegs[row] for row in rows]
        assert set(asked) == {failing}


def test_a_table_larger_than_the_cache_is_read_right_and_the_cache_stays_small(
    plaza: RowsOnS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    capacity = plaza.size_bytes // 2
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        images.prefetch(range(len(images.shards)))
        for _ in range(2):
            assert_right(plaza, images)
        files = list((tmp_path / "shards").iterdir())
        assert (
            0 < sum(path.stat().st_size for path in files if path.suffix != ".pieces") <= capacity
        )
    full = [record for record in caplog.records if "data.cache_gb" in record.message]
    assert len(full) == 1


def test_windows_are_prefetched_and_make_room_when_released(
    plaza: RowsOnS3, tmp_path: Path, log: Path
) -> None:
    numbers = range(len(plaza.split.shards))
    capacity = max(entry.size_bytes for entry in plaza.split.shards) * 2
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        for number in numbers:
            images.prefetch([number])
            wait_until_filled(images)
            rows = np.array(images.shards[number])
            assert images.jpegs(rows) == [plaza.jpegs[row] for row in rows]
            images.release([number])
    assert once(plaza.split.shards, log)
    assert whole_shards(tmp_path) == sorted(e.sha256 for e in plaza.split.shards[-2:])


def test_images_of_shards_that_were_not_prefetched_take_no_room(
    plaza: RowsOnS3, tmp_path: Path
) -> None:
    first, second = (entry.sha256 for entry in plaza.split.shards[:2])
    capacity = max(entry.size_bytes for entry in plaza.split.shards)
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        images.prefetch([0])
        assert_right(plaza, images)
        wait_until_filled(images)
        assert whole_shards(tmp_path) == [first]
        images.release([0])
        assert_right(plaza, images)
        images.prefetch([1])
        assert_right(plaza, images)
        wait_until_filled(images)
        assert whole_shards(tmp_path) == [second]


def test_a_shard_that_is_released_just_before_its_turn_takes_no_room(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capacity = max(entry.size_bytes for entry in plaza.split.shards)
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        with monkeypatch.context() as patch:
            patch.setattr(images._fetcher, "wait_until_idle", lambda **_: images.release([0]))
            images.prefetch([0])
            wait_until_filled(images)
        images.prefetch([1])
        wait_until_filled(images)
    assert whole_shards(tmp_path) == [plaza.split.shards[1].sha256]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_filling_begins_again_after_an_error_that_nobody_foresaw(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a defect")

    with open_rows(plaza, tmp_path) as images:
        with monkeypatch.context() as patch:
            patch.setattr(images._fetcher, "wait_until_idle", fail)
            images.prefetch([0])
            wait_until_filled(images)
        images.prefetch([1])
        wait_until_filled(images)
    assert len(whole_shards(tmp_path)) == 2


def test_what_another_process_has_mapped_is_never_removed(plaza: RowsOnS3, tmp_path: Path) -> None:
    first, second = plaza.split.shards[:2]
    capacity = first.size_bytes + second.size_bytes // 2
    program = f"""
        images = open_rows({capacity})
        images.fits_cache = images._fills = True
        images.jpegs(np.arange(1))
        print("mapped", flush=True)
        sys.stdin.read()
    """
    other = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    assert other.stdout is not None
    assert other.stdout.readline() == "mapped\n"
    kept = tmp_path / "cache" / "shards" / f"{first.sha256}.filling"
    with open_rows(plaza, tmp_path / "cache", capacity_bytes=capacity) as images:
        keep_without_filling(images)
        row = images.shards[1][0]
        assert images.jpegs(np.array([row])) == [plaza.jpegs[row]]
        assert kept.exists()
    other.kill()
    other.communicate(timeout=TIMEOUT_S)
    with open_rows(plaza, tmp_path / "cache", capacity_bytes=capacity) as images:
        keep_without_filling(images)
        assert images.jpegs(np.array([row])) == [plaza.jpegs[row]]
        assert not kept.exists()
        assert kept.with_name(f"{second.sha256}.filling").exists()


def test_the_shard_opened_least_recently_makes_room(plaza: RowsOnS3, tmp_path: Path) -> None:
    sizes = [entry.size_bytes for entry in plaza.split.shards]
    capacity = sum(sizes[:3])
    for number in (0, 1, 2, 0, 3):
        with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
            keep_without_filling(images)
            images.jpegs(np.array(images.shards[number]))
    names = {path.stem for path in (tmp_path / "shards").glob("*.filling")}
    assert plaza.split.shards[1].sha256 not in names
    assert {plaza.split.shards[0].sha256, plaza.split.shards[3].sha256} <= names


def test_an_image_outlives_its_place_in_the_cache(plaza: RowsOnS3, tmp_path: Path) -> None:
    with open_rows(plaza, tmp_path) as images:
        images.jpegs(np.array([5]))
        (image,) = images.jpegs(np.array([5]))
    for path in (tmp_path / "shards").iterdir():
        path.unlink()
    assert image == plaza.jpegs[5]


def test_a_cache_of_no_size_keeps_nothing(
    plaza: RowsOnS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_rows(plaza, tmp_path, capacity_bytes=0) as images:
        assert_right(plaza, images)
    assert list((tmp_path / "shards").iterdir()) == []
    assert "data.cache_gb" not in caplog.text


def test_a_full_disk_is_said(plaza: RowsOnS3, tmp_path: Path) -> None:
    # A limit on the size of files fails as a full disk does, where the space is reserved.
    program = """
        import resource
        from daam.errors import StorageError
        images = open_rows()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            images.jpegs(np.arange(1))
        except StorageError as error:
            print(error)
    """
    process = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    said, _ = process.communicate(timeout=TIMEOUT_S)
    assert "no space left" in said
    assert str(tmp_path / "cache") in said
    assert "data.cache_gb" in said
    assert not list((tmp_path / "cache" / "shards").iterdir())
    assert not (tmp_path / "log").exists()


def test_whoever_holds_a_lock_for_too_long_is_read_past(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PATIENCE_S", 0.2)
    entry = plaza.split.shards[0]
    with (
        open_rows(plaza, tmp_path) as images,
        held(tmp_path / "locks" / entry.sha256, patience_s=0) as is_held,
    ):
        assert is_held
        assert images.jpegs(np.array([0])) == [plaza.jpegs[0]]
        assert not list((tmp_path / "shards").glob(f"{entry.sha256}*"))


def test_a_file_that_a_stopped_process_was_about_to_remove_is_read_past(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daam.dataset.cache.file.REMOVAL_PATIENCE_S", 0.1)
    fill(plaza, tmp_path)
    path = tmp_path / "shards" / f"{plaza.split.shards[0].sha256}.arrow"
    with open_rows(plaza, tmp_path) as images, path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert images.jpegs(np.array([0])) == [plaza.jpegs[0]]


def test_a_child_forked_while_room_is_sought_holds_no_lock(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(plaza, tmp_path)
    used, *unused = (tmp_path / "shards").glob("*.arrow")
    space = CacheSpace(tmp_path / "shards", lock=tmp_path / "lock", capacity_bytes=plaza.size_bytes)
    opened, copies = os.open, []

    def copied(*args: Any) -> int:
        copies.append(os.dup(descriptor := opened(*args)))  # as a fork copies it
        return descriptor

    with used.open() as file, monkeypatch.context() as patch:
        fcntl.flock(file, fcntl.LOCK_SH)
        patch.setattr(os, "open", copied)
        with pytest.raises(NoRoomError), space.reserved(plaza.size_bytes):
            pass
    for path in unused:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for copy in copies:
        os.close(copy)


def test_a_full_cache_is_not_looked_through_for_each_shard(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, folders = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: (folders.append(path), listed(path))[1])
    capacity = max(entry.size_bytes for entry in plaza.split.shards)
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        keep_without_filling(images)
        sizes = [entry.size_bytes for entry in plaza.split.shards]
        *others, last, largest = np.argsort(sizes).tolist()
        for number in [largest, *others, *others]:
            images.jpegs(np.array(images.shards[number][:1]))
        assert len(folders) == 2  # for the largest, and for the smallest, which gets no room
        images.release([largest])
        images.jpegs(np.array(images.shards[last][:1]))
        assert len(folders) == 3


def test_a_forked_child_reads_rows_of_its_own(plaza: RowsOnS3, tmp_path: Path) -> None:
    program = """
        images = open_rows(1_000_000)
        images.jpegs(np.arange(8))
        child = os.fork()
        rows = np.arange(30, 60) if child == 0 else np.arange(60, 90)
        print(digest(images.jpegs(rows)), flush=True)
        os._exit(0) if child == 0 else os.waitpid(child, 0)
    """
    process = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert set(said.split()) == {plaza.digest(np.arange(30, 60)), plaza.digest(np.arange(60, 90))}


def test_a_child_that_was_forked_while_threads_were_at_work_does_not_wait_for_them(
    plaza: RowsOnS3, tmp_path: Path
) -> None:
    program = """
        import signal, threading
        images = open_rows()
        images.prefetch([0])
        forked, held = threading.Event(), threading.Event()
        def hold():
            opening = [shard._opening for shard in images._cached]
            locks = [images._filler._guard, images._fetcher._nobody_waits, *opening]
            for lock in locks:
                lock.acquire()
            held.set()
            forked.wait()
            for lock in locks:
                lock.release()
        threading.Thread(target=hold).start()
        held.wait()
        child = os.fork()
        forked.set()
        if child == 0:
            signal.alarm(20)
            print(digest(images.jpegs(np.arange(images.num_rows))), flush=True)
            images.prefetch([1])
            images.release([0, 1])
            images.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """
    process = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert said.split() == [plaza.digest(np.arange(NUM_ROWS))]


def test_a_limit_on_threads_is_not_taken_for_a_closed_table(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    images = open_rows(plaza, tmp_path)
    keep_without_filling(images)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(StorageError, match=r"can't start new thread.*ulimit -u") as error:
            images.jpegs(np.array([0]))
    assert not isinstance(error.value, fetching.ClosedError)
    images.close()
    with pytest.raises(fetching.ClosedError):
        images.jpegs(np.array([1]))


def test_a_program_ends_while_shards_are_still_fetched(plaza: RowsOnS3, tmp_path: Path) -> None:
    program = """
        import time
        from daam.dataset.cache import shard
        shard.RANGE_SIZE_BYTES = 20_000
        images = open_rows()
        images.jpegs(np.arange(1))
        ranged = S3Store.read_range
        def slow(self, key, **span):
            time.sleep(0.5)
            return ranged(self, key, **span)
        S3Store.read_range = slow
    """
    process = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert whole_shards(tmp_path / "cache") == []
    with open_rows(plaza, tmp_path / "cache") as images:
        assert_right(plaza, images)


def test_closing_ends_the_threads(plaza: RowsOnS3, tmp_path: Path) -> None:
    with open_rows(plaza, tmp_path) as images:
        images.jpegs(np.arange(4))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("daam-fill")]


def test_a_table_that_nobody_holds_ends_its_threads(plaza: RowsOnS3, tmp_path: Path) -> None:
    images = open_rows(plaza, tmp_path)
    images.jpegs(np.arange(4))
    threads = [thread for thread in threading.enumerate() if thread.name == "daam-fill"]
    del images
    for thread in threads:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def test_filling_goes_on_after_an_error_of_the_store(
    plaza: RowsOnS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("daam.dataset.cache.filler.RETRY_S", 0.1)
    ranged = S3Store.read_range
    failures = iter([True, True])

    def read_range(self: S3Store, key: str, *, start: int, size: int) -> bytes:
        if threading.current_thread() is not threading.main_thread() and next(failures, False):
            raise StorageError("the server went away")
        return ranged(self, key, start=start, size=size)

    with open_rows(plaza, tmp_path) as images:
        images.jpegs(np.arange(1))
        images.close()
    with open_rows(plaza, tmp_path) as images, caplog.at_level(logging.WARNING):
        monkeypatch.setattr(S3Store, "read_range", read_range)
        images.prefetch(range(len(images.shards)))
        wait_until_filled(images)
    assert "went away" in caplog.text
    assert whole_shards(tmp_path) == sorted(entry.sha256 for entry in plaza.split.shards)
