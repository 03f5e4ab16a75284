"""A cache and a store that several processes use, while files in them are removed."""

import time
from pathlib import Path

import pytest

from daam.dataset.cache.locks import file_lock
from daam.dataset.format.manifest import read_manifest
from daam.dataset.maintenance.verify import verify_domain
from daam.runs.run_folder import trained
from daam.storage import Store, open_store
from tests.support import epochs_in_a_full_cache
from tests.support.commands import Launch, kill_session, ran, started, started_python
from tests.support.one_epoch import DOMAIN, import_source, write_source
from tests.support.tiny_runs import same

pytestmark = pytest.mark.slow


def test_processes_that_evict_each_others_shards_read_the_right_rows(
    s3_uri: str, tmp_path: Path
) -> None:
    places = []
    for name in ("plaza", "campus"):
        write_source(tmp_path / name)
        import_source(tmp_path / name, to=open_store(f"{s3_uri}/{name}"))
        places.append((f"{s3_uri}/{name}", str(tmp_path / name)))
    # Room for one of the two domains and a part of the other.
    capacity_bytes = int(1.4 * max(shard_bytes(open_store(uri)) for uri, _ in places))
    cache = tmp_path / "cache"
    program = (epochs_in_a_full_cache.__file__, str(cache), str(capacity_bytes))
    there, back = (*places[0], *places[1]), (*places[1], *places[0])

    def cached_bytes() -> int:
        if not (cache / "locks").exists():
            return 0
        with file_lock(cache / "locks" / "space", timeout_s=10) as is_held:  # none comes or goes
            assert is_held
            return sum(path.stat().st_size for path in (cache / "shards").glob("*"))

    most_bytes = 0
    with (
        started_python(*program, *there, scratch=tmp_path / "one") as one,
        started_python(*program, *back, scratch=tmp_path / "other") as other,
        started_python(*program, *back, scratch=tmp_path / "killed") as killed,
    ):
        killed.until(cached_bytes)
        kill_session(killed.process.pid)
        while one.process.poll() is None or other.process.poll() is None:
            most_bytes = max(most_bytes, cached_bytes())
            time.sleep(0.01)
        finished = [one.finished(), other.finished()]

    assert [each.code for each in finished] == [0, 0], [each.err for each in finished]
    assert 0 < most_bytes <= capacity_bytes
    assert sum(each.err.count("evicted ") for each in finished) > 0


@pytest.mark.timeout(120)
def test_a_run_goes_on_while_its_domains_are_cleaned(
    s3_uri: str, tiny_root: Path, tiny_file: Path, tmp_path: Path, command: Launch
) -> None:
    local, store = open_store(str(tiny_root)), open_store(s3_uri)
    for key in local.list():
        if key.startswith(("plaza/", "campus/")):
            store.write(key, local.read(key))
    # Without a cache, every epoch reads the store again.
    settings = (f"data.root={s3_uri}", f"data.cache={tmp_path / 'cache'}", "data.cache_gb=0")
    words = ["train", "--config", str(tiny_file), "--storage", str(tmp_path / "runs")]
    words += [word for setting in settings for word in ("--set", setting)]
    undisturbed = ran(*words, "--name", "undisturbed", scratch=tmp_path / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err

    num_removed = 0
    with started(*words, "--name", "cleaned", scratch=tmp_path / "cleaned") as run:
        while run.process.poll() is None:
            for domain in ("plaza", "campus"):
                stray = f"{domain}/train-00007-{num_removed:016x}.arrow"
                store.write(stray, b"of an import that was killed")
                cleaned = command("data", "clean", "--domain", domain, "--at", s3_uri)
                assert cleaned.code == 0, cleaned.err
                assert f"removed {stray}" in cleaned.out
                assert "1 files removed" in cleaned.out
                num_removed += 1
        finished = run.finished()
    assert finished.code == 0, finished.err
    assert num_removed > 2
    # All that a run goes on from: weights, statistics, the optimiser's state.
    assert same(*(trained(str(tmp_path / "runs" / name))[1] for name in ("undisturbed", "cleaned")))
    for domain in ("plaza", "campus"):
        manifest = read_manifest(store, domain)
        assert not any(check.problem for check in verify_domain(store, manifest))


def shard_bytes(store: Store) -> int:
    """Bytes of all image shards of the domain in a store."""
    splits = read_manifest(store, DOMAIN).splits.values()
    return sum(entry.size_bytes for split in splits for entry in split.shards)
