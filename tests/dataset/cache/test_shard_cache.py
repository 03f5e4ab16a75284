"""A shard is downloaded once per node, checked, and never taken for whole when it is not."""

import hashlib
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daam.dataset.cache import ShardCache, shard_cache
from daam.dataset.format.manifest import ShardEntry
from daam.errors import ShardError, StorageError
from daam.storage import Store, open_store
from daam.storage.local_s3 import LocalS3
from tests.support.fault_proxy import FaultProxy


def put(store: Store, data: bytes, *, number: int = 0) -> ShardEntry:
    key = f"plaza/train-{number:05d}.arrow"
    store.write(key, data)
    digest = hashlib.sha256(data).hexdigest()
    return ShardEntry(key=key, num_rows=1, size_bytes=len(data), sha256=digest)


def files_of(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "files").glob("*"))


def test_a_fetched_shard_has_the_bytes(store: Store, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    entry = put(store, data)
    for _ in range(2):
        assert ShardCache(tmp_path / "cache").fetch(store, entry).read_bytes() == data


def test_a_local_shard_is_used_where_it_is(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    entry = put(store, b"data")
    assert ShardCache(tmp_path / "cache").fetch(store, entry) == store.local_path(entry.key)
    assert files_of(tmp_path / "cache") == []


def test_a_cached_shard_needs_no_server(s3_uri: str, tmp_path: Path) -> None:
    store = open_store(s3_uri)
    entry = put(store, b"data")
    path = ShardCache(tmp_path).fetch(store, entry)
    store.delete(entry.key)
    assert ShardCache(tmp_path).fetch(store, entry) == path


@pytest.mark.parametrize("change", ["flipped", "shorter", "longer"])
def test_a_damaged_shard_is_named_and_not_kept(store: Store, tmp_path: Path, change: str) -> None:
    data = bytearray(os.urandom(2_000_000))
    entry = put(store, bytes(data))
    if change == "flipped":
        data[1_234_567] ^= 1
    store.write(entry.key, bytes({"shorter": data[:-1], "longer": data + b"x"}.get(change, data)))
    for _ in range(2):
        with pytest.raises(ShardError, match=r"train-00000.*damaged.*data verify to find"):
            ShardCache(tmp_path / "cache").fetch(store, entry)
    assert files_of(tmp_path / "cache") == []


def test_a_missing_shard_is_named(store: Store, tmp_path: Path) -> None:
    entry = put(store, b"data")
    store.delete(entry.key)
    with pytest.raises(ShardError, match=r"train-00000\.arrow is missing"):
        ShardCache(tmp_path / "cache").fetch(store, entry)


def test_two_processes_and_their_threads_download_once(
    s3_server: LocalS3, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(8_000_000)
    entry = put(open_store(s3_uri), data)
    program = f"""
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from daam.dataset.cache import ShardCache
        from daam.dataset.format.manifest import ShardEntry
        from daam.storage import open_store

        input()
        entry = {entry!r}
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(
                lambda _: ShardCache(Path({str(tmp_path)!r})).fetch(open_store({s3_uri!r}), entry),
                range(4),
            ))
    """
    with FaultProxy(s3_server.endpoint) as proxy:
        environment = {**os.environ, "AWS_ENDPOINT_URL": proxy.endpoint}
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(program)],
                stdin=subprocess.PIPE,
                env=environment,
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.close()
        assert [process.wait(60) for process in processes] == [0, 0]
        assert proxy.bytes_sent.total() == len(data)
    assert (tmp_path / "files" / f"{entry.sha256}.arrow").read_bytes() == data


def test_a_file_that_another_process_fetches_for_ever_is_fetched_here_too(
    s3_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, cache = open_store(s3_uri), ShardCache(tmp_path)
    entry = put(store, b"data")
    (tmp_path / "locks").mkdir(mode=0o700)
    monkeypatch.setattr(shard_cache, "FILE_TIMEOUT_S", 0)
    with cache.lock(entry.sha256, timeout_s=0) as is_held:
        assert is_held
        assert cache.fetch(store, entry).read_bytes() == b"data"
    assert f"{store.locate(entry.key)}: another process" in caplog.text


def test_a_download_that_was_killed_is_not_taken_for_a_shard(s3_uri: str, tmp_path: Path) -> None:
    store = open_store(s3_uri)
    entry = put(store, os.urandom(4_000_000))
    program = f"""
        import os, signal
        from pathlib import Path
        from daam.dataset.cache import ShardCache
        from daam.dataset.format.manifest import ShardEntry
        from daam.storage import open_store
        from daam.storage.s3 import S3Store

        whole = S3Store.chunks

        def chunks(self, key):
            yield next(whole(self, key))
            os.kill(os.getpid(), signal.SIGKILL)

        S3Store.chunks = chunks
        ShardCache(Path({str(tmp_path)!r})).fetch(open_store({s3_uri!r}), {entry!r})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -9
    path = ShardCache(tmp_path).fetch(store, entry)
    assert path.stat().st_size == entry.size_bytes


def test_many_shards_come_in_order(s3_uri: str, tmp_path: Path) -> None:
    store = open_store(s3_uri)
    entries = [put(store, bytes([number]) * 100, number=number) for number in range(6)]
    paths = ShardCache(tmp_path).fetch_all(store, entries)
    assert [path.read_bytes()[0] for path in paths] == list(range(6))


def test_a_cache_that_cannot_be_written_is_said(s3_uri: str, tmp_path: Path) -> None:
    store = open_store(s3_uri)
    entry = put(store, b"data")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        ShardCache(tmp_path / "file").fetch(store, entry)


def test_threads_may_share_a_cache(store: Store, tmp_path: Path) -> None:
    entry = put(store, os.urandom(100_000))
    cache = ShardCache(tmp_path / "cache")
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: cache.fetch(store, entry), range(32)))
    assert len(paths) == 1
