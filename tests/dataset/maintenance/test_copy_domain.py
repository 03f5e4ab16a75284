"""A copy of a domain is the same to the byte, complete or not there, and repairs what is bad."""

from dataclasses import replace
from pathlib import Path

import pytest

from daam.dataset.format.download import BadFileError, ByteProgress, verified_file
from daam.dataset.format.manifest import read_manifest
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.maintenance.copy_domain import copy_domain
from daam.dataset.maintenance.verify import verify_domain
from daam.errors import ConfigError, ShardError
from daam.storage import MissingKeyError, Store, open_store
from daam.storage.local import LocalStore
from tests.support.files_of_domains import damage, domains_in


@pytest.fixture
def plaza(small_market: Path, tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "origin"))
    index = read_layout("market1501", small_market)
    import_domain(index, domain="plaza", to=store, shard_size_bytes=10_000)
    return store


def copied(source: Store, target: Store, *, recheck: bool = False) -> dict[str, bool]:
    """Copy; gives the files and whether they were sent."""
    files: dict[str, bool] = {}
    copy_domain(
        "plaza",
        source=source,
        target=target,
        recheck=recheck,
        on_file=lambda entry, sent: files.update({entry.key: sent}),
    )
    return files


def test_a_copy_is_equal_to_the_byte_there_and_back(
    plaza: Store, store: Store, tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    copy_domain(
        "plaza",
        source=plaza,
        target=store,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert (
        calls[-1][0]
        == calls[-1][1]
        == sum(plaza.size(k) for k in plaza.list("plaza/") if ".arrow" in k)
    )
    back = open_store(str(tmp_path / "back"))
    copy_domain("plaza", source=store, target=back)
    contents = [{key: each.read(key) for key in each.list()} for each in (plaza, store, back)]
    assert contents[0] == contents[1] == contents[2]


def test_files_that_are_there_are_not_sent_again(plaza: Store, store: Store) -> None:
    first = copied(plaza, store)
    assert set(first.values()) == {True}
    assert set(copied(plaza, store).values()) == {False}
    missing = next(iter(first))
    store.delete(missing)
    assert [key for key, sent in copied(plaza, store).items() if sent] == [missing]


@pytest.mark.parametrize("part", ["train-00001", "train-index", "query-labels"])
@pytest.mark.parametrize("kind", ["a bit", "shortened", "missing"])
def test_of_a_damaged_source_nothing_is_published(
    plaza: Store, store: Store, part: str, kind: str
) -> None:
    key = next(iter(plaza.list(f"plaza/{part}")))
    whole = damage(plaza, key)
    if kind == "shortened":
        plaza.write(key, whole[:-1])
    elif kind == "missing":
        plaza.delete(key)
    with pytest.raises(BadFileError, match=f"{key}.* is (damaged|missing)"):
        copied(plaza, store)
    assert domains_in(store) == []
    assert key not in store.list()


def test_a_copy_repairs_a_damaged_domain_when_it_rechecks(plaza: Store, store: Store) -> None:
    copied(plaza, store)
    keys = [key for key in store.list("plaza/") if key.endswith(".arrow")][::3]
    for key in keys:
        damage(store, key)
    assert not any(copied(plaza, store).values())  # by name and size they are right
    manifest = read_manifest(store, "plaza")
    assert {check.key for check in verify_domain(store, manifest) if check.problem} == set(keys)
    sent = copied(plaza, store, recheck=True)
    assert {key for key, was_sent in sent.items() if was_sent} == set(keys)
    assert not any(check.problem for check in verify_domain(store, manifest))


def test_a_store_is_not_copied_to_itself(plaza: Store) -> None:
    with pytest.raises(ConfigError, match="both source and target"):
        copied(plaza, open_store(plaza.uri))


def test_a_missing_domain_is_named(plaza: Store, store: Store) -> None:
    with pytest.raises(ShardError, match="no domain campus"):
        copy_domain("campus", source=plaza, target=store)


class LosesWhatItGets(LocalStore):
    """A store that says, when a file is sent to it, that something is not there."""

    def upload(self, path: Path, key: str) -> None:
        raise MissingKeyError(f"{self.locate(key)} is gone")


def test_what_the_target_misses_is_not_laid_to_the_source(plaza: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingKeyError, match=r"target.* is gone"):
        copied(plaza, LosesWhatItGets(tmp_path / "target"))


def test_files_with_the_same_bytes_do_not_share_a_scratch_file(
    plaza: Store, s3_uri: str, tmp_path: Path
) -> None:
    copied(plaza, open_store(s3_uri))
    source = open_store(s3_uri)
    manifest = read_manifest(source, "plaza")
    first = manifest.files[0]
    second = replace(first, key="plaza/another.arrow")
    source.write(second.key, source.read(first.key))
    progress = ByteProgress(2 * first.size_bytes, report=None)
    with verified_file(source, first, scratch=tmp_path, progress=progress) as path:
        with verified_file(source, second, scratch=tmp_path, progress=progress) as other:
            assert other.read_bytes() == path.read_bytes()
        assert path.read_bytes() == source.read(first.key)
