"""An import keeps the files of the one before, and concurrent imports leave a complete domain."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daam.dataset.format.manifest import DomainManifest, read_manifest
from daam.dataset.format.publishing import (
    FilesGoneError,
    check_all_stored,
    publish,
    remove_unnamed,
    unnamed_files,
)
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.maintenance.verify import verify_domain
from daam.storage import Store, open_store
from daam.storage.local import LocalStore
from tests.support.files_of_domains import damage

MANIFEST, PREVIOUS = "plaza/manifest.json", "plaza/previous.json"
Import = Callable[..., DomainManifest]


@pytest.fixture
def imported(small_market: Path, store: Store) -> Import:
    """Imports plaza with a share of its people held out: other shares give other files."""
    index = read_layout("market1501", small_market)
    return lambda share, **more: import_domain(
        index, domain="plaza", to=store, validation_share=share, shard_size_bytes=10_000, **more
    )


def keys(*manifests: DomainManifest) -> set[str]:
    return {entry.key for manifest in manifests for entry in manifest.files}


def test_the_files_of_the_import_before_are_kept_and_older_ones_removed(
    imported: Import, store: Store
) -> None:
    first = imported(0.25)
    assert set(store.list()) == keys(first) | {MANIFEST}
    second = imported(0.5)
    assert store.read(PREVIOUS) == first.to_json()
    assert set(store.list()) == keys(first, second) | {MANIFEST, PREVIOUS}
    third = imported(0.4)
    assert store.read(PREVIOUS) == second.to_json()
    assert set(store.list()) == keys(second, third) | {MANIFEST, PREVIOUS}
    assert not keys(first) <= keys(second, third)
    assert imported(0.4) == third
    assert set(store.list()) == keys(second, third) | {MANIFEST, PREVIOUS}


def test_going_back_to_the_import_before_keeps_both(imported: Import, store: Store) -> None:
    first, second = imported(0.25), imported(0.5)
    assert imported(0.25) == first
    assert set(store.list()) == keys(first, second) | {MANIFEST, PREVIOUS}


def test_files_that_no_manifest_names_are_listed_and_left_to_a_command(
    imported: Import, store: Store
) -> None:
    first = imported(0.25)
    orphan = f"plaza/train-00099-{'0' * 16}.arrow"
    store.write(orphan, b"of an import that was killed")
    second = imported(0.5)
    previous = sorted((keys(first) - keys(second)) | {PREVIOUS})
    assert unnamed_files(second, store=store) == (previous, [orphan])
    imported(0.4)
    assert store.exists(orphan)
    third = read_manifest(store, "plaza")
    assert orphan in remove_unnamed(third, store=store)
    assert set(store.list()) == keys(third) | {MANIFEST}


def test_an_import_removes_what_a_killed_one_left(small_market: Path, tmp_path: Path) -> None:
    left = tmp_path / "plaza" / ".train-00000.arrow.0123456789abcdef.partial"
    left.parent.mkdir()
    left.touch()
    index = read_layout("market1501", small_market)
    import_domain(index, domain="plaza", to=LocalStore(tmp_path))
    assert not left.exists()


def test_a_manifest_of_an_older_format_keeps_its_files_for_one_import(
    imported: Import, store: Store
) -> None:
    old = "plaza/train-labels-0123456789abcdef.arrow"
    store.write(old, b"labels")
    store.write(MANIFEST, b'{"version": 1, "labels": {"key": "%s"}}' % old.encode())
    imported(0.25)
    assert store.exists(old)
    imported(0.5)
    assert not store.exists(old)


@pytest.mark.parametrize("part", ["train-00001", "train-index", "query-labels"])
def test_a_damaged_file_is_replaced_by_an_import_that_rechecks(
    imported: Import, store: Store, part: str
) -> None:
    manifest = imported(0.25)
    key = next(iter(store.list(f"plaza/{part}")))
    whole = damage(store, key)
    sent: list[str] = []
    imported(0.25)  # by name and size it is right
    assert store.read(key) != whole
    imported(
        0.25,
        recheck=True,
        on_file=lambda entry, was_sent: sent.append(entry.key) if was_sent else None,
    )
    assert sent == [key]
    assert store.read(key) == whole
    assert not any(check.problem for check in verify_domain(store, manifest))


def test_a_manifest_whose_files_are_gone_is_not_published(imported: Import, store: Store) -> None:
    first, second = imported(0.25), imported(0.5)
    lost = sorted(keys(first) - keys(second))[0]
    store.delete(lost)
    with pytest.raises(FilesGoneError, match=f"1 files of plaza .*{lost}"):
        publish(first, first.to_json(), to=store)
    assert read_manifest(store, "plaza") == second


def test_an_import_that_removed_a_file_of_a_newer_one_says_so(
    small_market: Path, tmp_path: Path
) -> None:
    class PublishedMeanwhile(LocalStore):
        """Another import's manifest appears after the look and before the removal."""

        def delete(self, key: str) -> None:
            self.write(MANIFEST, oldest.to_json())
            super().delete(key)

    index = read_layout("market1501", small_market)
    store = LocalStore(tmp_path / "store")
    oldest, _ = (
        import_domain(index, domain="plaza", to=store, validation_share=share)
        for share in (0.25, 0.5)
    )
    here = tmp_path / "here"
    newest = import_domain(index, domain="plaza", to=LocalStore(here), validation_share=0.4)
    for key in keys(newest):
        store.upload(here / key, key)
    with pytest.raises(FilesGoneError, match=r"it needs plaza/.*\.arrow.*run the command again"):
        publish(newest, newest.to_json(), to=PublishedMeanwhile(tmp_path / "store"))


def test_imports_of_a_domain_at_once_leave_one_of_them_whole(
    small_market: Path, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    index = read_layout("market1501", small_market)
    shares = (0.25, 0.4, 0.5)

    def repeatedly(share: float) -> DomainManifest:
        return [
            import_domain(index, domain="plaza", to=store, validation_share=share) for _ in range(4)
        ][-1]

    with ThreadPoolExecutor(len(shares)) as pool:
        manifests = list(pool.map(repeatedly, shares))
    final = read_manifest(store, "plaza")
    assert final in manifests
    check_all_stored(final, store=store)
    assert not any(check.problem for check in verify_domain(store, final))
