"""Images come through the cache as they were imported, each byte once, whatever happens to it."""

import fcntl
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daam.dataset.cache import ShardCache, cached_shard, fetcher, prefetcher, shard_file, space
from daam.dataset.cache.fetcher import ClosedError
from daam.dataset.cache.shard_file import cached_size_bytes
from daam.dataset.cache.space import CacheSpace, NoRoomError
from daam.dataset.format.manifest import read_manifest
from daam.dataset.reading.image_table import ImageTable, open_images
from daam.domains import Split
from daam.errors import ShardError, StorageError
from daam.storage import open_store
from daam.storage.s3 import S3Store
from tests.support.rows_on_s3 import (
    RowsOnS3,
    complete_shards,
    no_byte_twice,
    put_rows,
    ranges_in,
)

NUM_ROWS = 400
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def plaza(s3_server: object, tmp_path_factory: pytest.TempPathFactory) -> RowsOnS3:
    """A domain of 5 shards that no test changes."""
    store = open_store("s3://daam-tests/rows-for-the-cache")
    return put_rows(store, num_rows=NUM_ROWS, folder=tmp_path_factory.mktemp("rows"))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four parts or so in a shard."""
    monkeypatch.setattr(cached_shard, "PART_SIZE_BYTES", 40_000)


@pytest.fixture
def own(s3_uri: str, tmp_path: Path) -> RowsOnS3:
    """A small domain that a test may change."""
    folder = tmp_path / "own"
    folder.mkdir()
    return put_rows(open_store(s3_uri), num_rows=40, folder=folder)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process logs which bytes it asks for."""
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


def wait_until_prefetched(images: ImageTable) -> None:
    """Return when nothing is fetched in the background any more."""
    assert images._fetcher is not None
    deadline = time.monotonic() + TIMEOUT_S
    while images._fetcher._prefetcher._threads:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def prefetch_all(images: ImageTable) -> None:
    images.prefetch(range(len(images.shards)))
    wait_until_prefetched(images)


def fill(rows: RowsOnS3, cache: Path) -> None:
    with open_rows(rows, cache) as images:
        prefetch_all(images)
    assert len(complete_shards(rows, cache)) == len(rows.split.shards)


def assert_correct(rows: RowsOnS3, images: ImageTable) -> None:
    """Every row is the one that was imported, in an order that changes shards all the time."""
    order = np.random.default_rng(3).permutation(rows.num_rows)
    for part in np.array_split(order, 9):
        assert images.jpegs(part) == [rows.jpegs[row] for row in part]


# Each byte once.


def test_four_processes_at_once_fetch_each_byte_once(plaza: RowsOnS3, tmp_path: Path) -> None:
    program = """
        images = open_rows()
        rows = np.random.default_rng(0).permutation(images.num_rows)
        parts = np.array_split(rows, 12)
        jpegs = images.jpegs(parts[0])
        images.prefetch(range(len(images.shards)))
        print(digest([*jpegs, *(jpeg for part in parts[1:] for jpeg in images.jpegs(part))]))
        images.close()
    """
    cache, log = tmp_path / "cache", tmp_path / "log"
    processes = [plaza.reader(program, cache=cache, log=log) for _ in range(4)]
    said = [process.communicate(timeout=TIMEOUT_S)[0].strip() for process in processes]
    assert said == [plaza.digest(np.random.default_rng(0).permutation(NUM_ROWS))] * 4
    assert no_byte_twice(log)
    assert complete_shards(plaza, cache) == list(range(len(plaza.split.shards)))


def test_threads_that_want_the_same_rows_fetch_them_once(
    plaza: RowsOnS3, tmp_path: Path, log: Path
) -> None:
    with open_rows(plaza, tmp_path / "cache") as images:
        threads = [threading.Thread(target=assert_correct, args=(plaza, images)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
    assert no_byte_twice(log)


def test_an_image_that_is_being_prefetched_is_waited_for(
    plaza: RowsOnS3, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranged, began = S3Store.read_range, threading.Event()

    def slow(self: S3Store, key: str, *, start: int, size: int) -> bytes:
        began.set()
        time.sleep(0.2)
        return ranged(self, key, start=start, size=size)

    with open_rows(plaza, tmp_path / "cache") as images:
        monkeypatch.setattr(S3Store, "read_range", slow)
        images.prefetch([0])
        began.wait(TIMEOUT_S)
        rows = np.array(images.shards[0])
        assert images.jpegs(rows) == [plaza.jpegs[row] for row in rows]
    assert no_byte_twice(log)


def test_a_complete_cache_needs_no_store(plaza: RowsOnS3, tmp_path: Path, log: Path) -> None:
    fill(plaza, tmp_path / "cache")
    assert no_byte_twice(log)
    log.unlink()
    with open_rows(plaza, tmp_path / "cache") as images:
        assert_correct(plaza, images)
        prefetch_all(images)
    assert not log.exists()


def test_the_first_rows_cost_their_own_bytes_alone(
    plaza: RowsOnS3, tmp_path: Path, log: Path
) -> None:
    rows = np.random.default_rng(1).integers(0, NUM_ROWS, 16)
    with open_rows(plaza, tmp_path / "cache") as images:
        for _ in range(3):
            assert images.jpegs(rows) == [plaza.jpegs[row] for row in rows]
    fetched = sum(size for ranges in ranges_in(log).values() for _, size in ranges)
    assert fetched == sum(len(plaza.jpegs[row]) for row in set(rows.tolist()))


def test_shards_of_joined_tables_are_prefetched_and_read(
    plaza: RowsOnS3, own: RowsOnS3, tmp_path: Path, log: Path
) -> None:
    cache = tmp_path / "cache"
    rows = np.arange(NUM_ROWS + own.num_rows)[::7]
    every = plaza.jpegs + own.jpegs
    with ImageTable.joined([open_rows(plaza, cache), open_rows(own, cache)]) as images:
        assert images.jpegs(rows) == [every[row] for row in rows]
        prefetch_all(images)
        assert images.jpegs(rows) == [every[row] for row in rows]
    assert len(complete_shards(own, cache)) == len(own.split.shards)
    assert no_byte_twice(log)


def test_neighbours_are_fetched_together(plaza: RowsOnS3, tmp_path: Path, log: Path) -> None:
    with open_rows(plaza, tmp_path / "cache") as images:
        images.jpegs(np.array(images.shards[1]))
        (ranges,) = ranges_in(log).values()
        assert len(ranges) <= -(-plaza.split.shards[1].size_bytes // cached_shard.PART_SIZE_BYTES)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are seen on Linux only")
def test_a_shard_takes_one_open_file(plaza: RowsOnS3, tmp_path: Path) -> None:
    with open_rows(plaza, tmp_path) as images:
        assert_correct(plaza, images)
        paths = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
        of_shards = [path for path in paths if path.startswith(str(tmp_path / "shards"))]
        assert len(of_shards) == len(images.shards)


# Crashes and damage.


@pytest.mark.parametrize(
    "moment",
    [
        # Half of an image is written; it is written and not marked; the file has no size yet.
        "os.pwrite = lambda fd, data, at: (pwrite(fd, data[: len(data) // 2], at), die())",
        "os.pwrite = lambda fd, data, at: (pwrite(fd, data, at), die())",
        "os.posix_fallocate = os.ftruncate = lambda *_: die()",
    ],
    ids=["in a write", "before the mark", "in the creation"],
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
"""
    killed = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    killed.communicate(timeout=TIMEOUT_S)
    assert killed.returncode == -9
    with open_rows(plaza, tmp_path / "cache") as images:
        assert_correct(plaza, images)
        prefetch_all(images)
    assert len(complete_shards(plaza, tmp_path / "cache")) == len(plaza.split.shards)


@pytest.mark.parametrize("damage", ["garbage", "zeros", "cut", "longer", "empty", "lost images"])
@pytest.mark.parametrize("state", ["complete", "partial"])
def test_a_damaged_file_of_the_cache_is_repaired(
    plaza: RowsOnS3, tmp_path: Path, damage: str, state: str
) -> None:
    if state == "complete":
        fill(plaza, tmp_path)
    else:
        with open_rows(plaza, tmp_path) as images:
            images.jpegs(np.array([rows[0] for rows in images.shards]))
    for entry in plaza.split.shards:
        path = tmp_path / "shards" / f"{entry.sha256}.images"
        data = path.read_bytes()
        damaged = {
            "garbage": os.urandom(len(data)),
            "zeros": bytes(len(data)),
            "cut": data[: len(data) // 2],
            "longer": data + b"x",
            "empty": b"",
            "lost images": bytes(entry.size_bytes) + b"\1" * entry.num_rows,  # after a power cut
        }[damage]
        path.write_bytes(damaged)
    for _ in range(2):
        with open_rows(plaza, tmp_path) as images:
            assert_correct(plaza, images)


def test_an_image_that_is_damaged_in_the_store_is_named(own: RowsOnS3, tmp_path: Path) -> None:
    row = next(row for row, jpeg in enumerate(own.jpegs) if len(jpeg) > 100)
    entry = own.split.shards[0]
    data = bytearray(own.store.read(entry.key))
    data[data.index(own.jpegs[row]) + 50] ^= 1
    own.store.write(entry.key, bytes(data))
    for capacity_bytes in (own.size_bytes - 1, None):
        with open_rows(own, tmp_path / "cache", capacity_bytes=capacity_bytes) as images:
            images.prefetch([0])
            for _ in range(2):
                with pytest.raises(ShardError, match=rf"row {row} of shard {entry.key}.*s3://"):
                    images.jpegs(np.array([row, row + 1, 0]))
            rows = np.array([other for other in range(own.num_rows) if other != row])
            assert images.jpegs(rows) == [own.jpegs[other] for other in rows]


def test_a_shard_that_the_store_lacks_is_named(own: RowsOnS3, tmp_path: Path) -> None:
    entry = own.split.shards[0]
    own.store.delete(entry.key)
    with (
        open_rows(own, tmp_path / "cache") as images,
        pytest.raises(ShardError, match=rf"{entry.key} is missing"),
    ):
        images.jpegs(np.arange(own.num_rows))


def test_a_store_that_fails_halfway_keeps_what_arrived(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranged = S3Store.read_range
    rows = np.arange(0, NUM_ROWS, 20)
    failing = plaza.split.shards[-1].key

    def read_range(self: S3Store, key: str, *, start: int, size: int) -> bytes:
        if key == failing:
            raise StorageError("the server went away")
        return ranged(self, key, start=start, size=size)

    with open_rows(plaza, tmp_path) as images:
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


def test_prefetching_is_resumed_after_an_error_of_the_store(
    plaza: RowsOnS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(prefetcher, "RETRY_S", 0.1)
    ranged = S3Store.read_range
    failures = iter([True, True])

    def read_range(self: S3Store, key: str, *, start: int, size: int) -> bytes:
        if next(failures, False):
            raise StorageError("the server went away")
        return ranged(self, key, start=start, size=size)

    with open_rows(plaza, tmp_path) as images:
        monkeypatch.setattr(S3Store, "read_range", read_range)
        prefetch_all(images)
    assert "went away" in caplog.text
    assert len(complete_shards(plaza, tmp_path)) == len(plaza.split.shards)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_prefetching_starts_again_after_a_defect(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("a defect")

    with open_rows(plaza, tmp_path) as images:
        with monkeypatch.context() as patch:
            patch.setattr(S3Store, "read_range", fail)
            images.prefetch([0])
            wait_until_prefetched(images)
        images.prefetch([1])
        wait_until_prefetched(images)
        assert 1 in complete_shards(plaza, tmp_path)
        assert_correct(plaza, images)


# More images than the cache holds.


def test_a_table_larger_than_the_cache_is_read_correctly_and_the_cache_stays_small(
    plaza: RowsOnS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    capacity = plaza.size_bytes // 2
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        images.prefetch(range(len(images.shards)))
        for _ in range(2):
            assert_correct(plaza, images)
        sizes = [path.stat().st_size for path in (tmp_path / "shards").iterdir()]
        assert 0 < sum(sizes) <= capacity
    full = [record for record in caplog.records if "data.cache_gb" in record.message]
    assert len(full) == 1


def test_windows_are_prefetched_and_evicted_when_released(
    plaza: RowsOnS3, tmp_path: Path, log: Path
) -> None:
    numbers = range(len(plaza.split.shards))
    capacity = max(map(cached_size_bytes, plaza.split.shards)) * 2
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        for number in numbers:
            images.prefetch([number])
            wait_until_prefetched(images)
            rows = np.array(images.shards[number])
            assert images.jpegs(rows) == [plaza.jpegs[row] for row in rows]
            images.release([number])
    assert no_byte_twice(log)
    assert complete_shards(plaza, tmp_path) == list(numbers[-2:])


def test_images_of_shards_that_were_not_prefetched_take_no_room(
    plaza: RowsOnS3, tmp_path: Path
) -> None:
    capacity = max(map(cached_size_bytes, plaza.split.shards))
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        images.prefetch([0])
        assert_correct(plaza, images)
        wait_until_prefetched(images)
        assert complete_shards(plaza, tmp_path) == [0]
        images.release([0])
        assert_correct(plaza, images)
        images.prefetch([1])
        assert_correct(plaza, images)
        wait_until_prefetched(images)
        assert complete_shards(plaza, tmp_path) == [1]


def test_images_of_a_cached_shard_that_was_not_prefetched_come_from_the_cache(
    plaza: RowsOnS3, tmp_path: Path, log: Path
) -> None:
    fill(plaza, tmp_path / "cache")
    log.unlink()
    capacity = plaza.size_bytes // 2
    with open_rows(plaza, tmp_path / "cache", capacity_bytes=capacity) as images:
        assert_correct(plaza, images)
    assert not log.exists()


def test_a_shard_that_is_released_before_it_was_fetched_takes_no_room(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranged, began, released = S3Store.read_range, threading.Event(), threading.Event()

    def stopped(self: S3Store, key: str, *, start: int, size: int) -> bytes:
        began.set()
        released.wait(TIMEOUT_S)
        return ranged(self, key, start=start, size=size)

    capacity = max(map(cached_size_bytes, plaza.split.shards))
    with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
        with monkeypatch.context() as patch:
            patch.setattr(S3Store, "read_range", stopped)
            images.prefetch([0])
            began.wait(TIMEOUT_S)
            images.release([0])
            released.set()
            wait_until_prefetched(images)
        images.prefetch([1])
        wait_until_prefetched(images)
    assert complete_shards(plaza, tmp_path) == [1]


def test_what_another_process_has_mapped_is_never_evicted(plaza: RowsOnS3, tmp_path: Path) -> None:
    first, second = plaza.split.shards[:2]
    capacity = first.size_bytes + second.size_bytes // 2
    program = f"""
        images = open_rows({capacity})
        images.prefetch([0])
        images.jpegs(np.arange(1))
        print("mapped", flush=True)
        sys.stdin.read()
    """
    other = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    assert other.stdout is not None
    assert other.stdout.readline() == "mapped\n"
    kept = tmp_path / "cache" / "shards" / f"{first.sha256}.images"
    for is_mapped in (True, False):
        with open_rows(plaza, tmp_path / "cache", capacity_bytes=capacity) as images:
            images.prefetch([1])
            row = images.shards[1][0]
            assert images.jpegs(np.array([row])) == [plaza.jpegs[row]]
            assert kept.exists() == is_mapped
        other.kill()
        other.communicate(timeout=TIMEOUT_S)
    assert kept.with_name(f"{second.sha256}.images").exists()


def test_the_shard_opened_least_recently_is_evicted(plaza: RowsOnS3, tmp_path: Path) -> None:
    capacity = sum(map(cached_size_bytes, plaza.split.shards[:3]))
    for number in (0, 1, 2, 0, 3):
        with open_rows(plaza, tmp_path, capacity_bytes=capacity) as images:
            images.prefetch([number])
            wait_until_prefetched(images)
    cached = complete_shards(plaza, tmp_path)
    assert 1 not in cached
    assert {0, 3} <= set(cached)


def test_an_image_outlives_its_place_in_the_cache(plaza: RowsOnS3, tmp_path: Path) -> None:
    with open_rows(plaza, tmp_path) as images:
        images.jpegs(np.array([5]))
        (image,) = images.jpegs(np.array([5]))
    for path in (tmp_path / "shards").iterdir():
        path.unlink()
    assert image == plaza.jpegs[5]
    assert image.readonly


def test_a_cache_of_no_size_keeps_nothing(
    plaza: RowsOnS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_rows(plaza, tmp_path, capacity_bytes=0) as images:
        images.prefetch([0])
        assert_correct(plaza, images)
    assert list((tmp_path / "shards").iterdir()) == []
    assert "data.cache_gb" not in caplog.text


def test_a_full_disk_is_reported(plaza: RowsOnS3, tmp_path: Path) -> None:
    # A limit on the size of files fails as a full disk does, where the space is allocated.
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


def test_a_full_cache_is_not_scanned_for_each_shard(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned, folders = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: (folders.append(path), scanned(path))[1])
    sizes = [cached_size_bytes(entry) for entry in plaza.split.shards]
    *others, last, largest = np.argsort(sizes).tolist()
    shards = space.CacheSpace(tmp_path, lock=tmp_path / "lock", capacity_bytes=sizes[largest])
    (tmp_path / "used").write_bytes(bytes(sizes[largest]))
    with (tmp_path / "used").open() as used:
        fcntl.flock(used, fcntl.LOCK_SH)
        for number in [*others, *others]:
            with pytest.raises(NoRoomError), shards.reserved(sizes[number]):
                pass
    assert len(folders) == 1
    shards.retry_refused()
    with shards.reserved(sizes[last]):
        assert len(folders) == 2


# Never a hang.


@pytest.mark.parametrize("what", ["", " 0"], ids=["a shard's", "a part's"])
def test_a_lock_that_is_held_for_too_long_is_read_past(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(fetcher, "LOCK_TIMEOUT_S", 0.2)
    lock = ShardCache(tmp_path).lock(plaza.split.shards[0].sha256 + what, timeout_s=0)
    with open_rows(plaza, tmp_path) as images, lock as is_held:
        assert is_held
        assert images.jpegs(np.array([0])) == [plaza.jpegs[0]]


def test_a_file_that_a_stopped_process_was_evicting_is_read_past(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_file, "EVICTION_TIMEOUT_S", 0.1)
    fill(plaza, tmp_path)
    path = tmp_path / "shards" / f"{plaza.split.shards[0].sha256}.images"
    with open_rows(plaza, tmp_path) as images, path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert images.jpegs(np.array([0])) == [plaza.jpegs[0]]


def test_a_child_forked_while_room_is_made_holds_no_lock(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(plaza, tmp_path)
    used, *unused = (tmp_path / "shards").glob("*.images")
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


def test_a_forked_child_is_refused_and_ends(plaza: RowsOnS3, tmp_path: Path) -> None:
    program = """
        import signal
        from daam.errors import StorageError
        images = open_rows()
        images.jpegs(np.arange(8))
        images.prefetch([0])
        images._fetcher._prefetcher._lock.acquire()  # as a thread may at that moment
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            for use in (
                lambda: images.jpegs(np.arange(images.num_rows - 8, images.num_rows)),
                lambda: images.prefetch([1]),
                lambda: images.release([1]),
            ):
                try:
                    use()
                except StorageError as error:
                    print(error, flush=True)
            print(images.jpegs(np.arange(8)) is None, flush=True)
            images.close()
            sys.exit(0)
        images._fetcher._prefetcher._lock.release()
        assert os.waitpid(child, 0)[1] == 0
    """
    process = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    *refusals, cached = said.splitlines()
    assert len(refusals) == 3
    assert all("a fork of it; start processes by spawn" in refusal for refusal in refusals)
    assert cached == "False"  # what is mapped is readable in a child, too


def test_a_limit_on_threads_is_not_taken_for_a_closed_table(
    plaza: RowsOnS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    images = open_rows(plaza, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        images.prefetch([0])
        with pytest.raises(StorageError, match=r"can't start new thread.*ulimit -u") as error:
            images.jpegs(np.array([0]))
    assert not isinstance(error.value, ClosedError)
    images.close()
    with pytest.raises(ClosedError):
        images.jpegs(np.array([1]))


def test_a_program_ends_while_shards_are_prefetched(plaza: RowsOnS3, tmp_path: Path) -> None:
    program = """
        import time
        images = open_rows()
        ranged = S3Store.read_range
        def slow(self, key, **span):
            time.sleep(0.5)
            return ranged(self, key, **span)
        S3Store.read_range = slow
        from daam.dataset.cache import prefetcher
        prefetcher.NUM_THREADS = 2
        images.prefetch(range(len(images.shards)))
    """
    process = plaza.reader(program, cache=tmp_path / "cache", log=tmp_path / "log")
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert len(complete_shards(plaza, tmp_path / "cache")) < len(plaza.split.shards)
    with open_rows(plaza, tmp_path / "cache") as images:
        assert_correct(plaza, images)


def test_closing_ends_the_threads(plaza: RowsOnS3, tmp_path: Path) -> None:
    with open_rows(plaza, tmp_path) as images:
        images.prefetch(range(len(images.shards)))
    assert not [thread for thread in threading.enumerate() if thread.name == "daam-prefetch"]


def test_a_table_that_nobody_holds_ends_its_threads(plaza: RowsOnS3, tmp_path: Path) -> None:
    images = open_rows(plaza, tmp_path)
    images.prefetch(range(len(images.shards)))
    threads = [thread for thread in threading.enumerate() if thread.name == "daam-prefetch"]
    assert threads
    del images
    for thread in threads:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def test_a_cache_may_hold_as_many_files_open_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        ShardCache(tmp_path / "cache")
        most = space.MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, space.MANY_FILES)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
