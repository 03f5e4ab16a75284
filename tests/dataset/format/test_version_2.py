"""A domain of format version 2 is read as it was written."""

from pathlib import Path

import numpy as np
import pytest

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import DomainManifest, has_domain, read_manifest
from daam.dataset.maintenance.copy_domain import copy_domain
from daam.dataset.maintenance.describe import describe_domain
from daam.dataset.maintenance.verify import verify_domain
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities, read_names
from daam.domains import Split
from daam.storage import Store, open_store
from tests.support.format_2 import Row, write_format_2
from tests.support.images_in_memory import encode, random_pixels
from tests.support.known import known


@pytest.fixture
def rows() -> list[Row]:
    generator = np.random.default_rng(0)
    return [
        Row(
            jpeg=encode(random_pixels(generator, height=16, width=8)),
            camera=1 + number % 3,
            identity=identity,
            name=f"{identity:04d}_{number}.jpg",
        )
        for number, identity in enumerate([4, 4, 1, 7, 0, -1, 7])
    ]


@pytest.fixture
def store(rows: list[Row], tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "store"))
    write_format_2(store, "plaza", {"train": rows[:4], "gallery": rows})
    return store


@pytest.fixture
def manifest(store: Store) -> DomainManifest:
    return read_manifest(store, "plaza")


def test_its_rows_are_read(
    rows: list[Row], store: Store, manifest: DomainManifest, tmp_path: Path
) -> None:
    where = {"manifest": manifest, "splits": [Split.GALLERY], "cache": ShardCache(tmp_path / "c")}
    images = open_images(store, **where)
    assert [bytes(jpeg) for jpeg in images.jpegs(np.arange(7))] == [row.jpeg for row in rows]
    assert known(images.cameras).tolist() == [row.camera for row in rows]
    assert images.tracks is None
    assert images.times is None
    assert read_identities(store, **where).tolist() == [row.identity for row in rows]
    assert read_names(store, **where) == [row.name for row in rows]


def test_it_says_what_it_knows(store: Store, manifest: DomainManifest) -> None:
    assert has_domain(store, "plaza")
    train = manifest.split(Split.TRAIN)
    assert (train.num_cameras, train.num_tracks, train.has_identities) == (3, None, True)
    gallery = describe_domain(store, manifest)[Split.GALLERY]
    assert (gallery.num_identities, gallery.num_distractors, gallery.num_junk) == (3, 1, 1)


def test_it_is_verified_and_copied(store: Store, manifest: DomainManifest, tmp_path: Path) -> None:
    assert [check.problem for check in verify_domain(store, manifest)] == [None] * 6
    other = open_store(str(tmp_path / "other"))
    copy_domain("plaza", source=store, target=other)
    assert read_manifest(other, "plaza") == manifest


def test_the_digest_is_still_that_of_shards_and_labels(manifest: DomainManifest) -> None:
    """A run that was trained on the domain can be resumed."""
    train = manifest.split(Split.TRAIN)
    digest = manifest.digest([Split.TRAIN], with_labels=False)
    with_another_index = DomainManifest(
        domain="plaza",
        layout=manifest.layout,
        settings=manifest.settings,
        splits={
            Split.TRAIN: type(train)(
                num_rows=train.num_rows,
                num_cameras=train.num_cameras,
                shards=train.shards,
                index=train.labels,
                labels=train.labels,
            )
        },
        skipped={},
    )
    assert with_another_index.digest([Split.TRAIN], with_labels=False) == digest
