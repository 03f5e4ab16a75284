"""A domain is counted as it was imported, and drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daam.dataset.format.manifest import DomainManifest, read_manifest
from daam.dataset.importing.hold_out import hold_out_validation
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.maintenance.describe import (
    cameras_per_identity,
    describe_domain,
    images_per_identity,
)
from daam.domains import VALIDATION_SPLITS, Split
from daam.errors import ConfigError, ShardError
from daam.plots.domain_histograms import draw_description
from daam.storage import Store, open_store
from tests.support.files_of_domains import damage
from tests.support.known import known
from tests.support.layout_trees import records


@pytest.fixture
def plaza(small_market: Path, store: Store) -> DomainManifest:
    index = read_layout("market1501", small_market)
    return import_domain(index, domain="plaza", to=store, shard_size_bytes=20_000)


def test_people_are_counted_apart_from_distractors_and_junk(
    plaza: DomainManifest, store: Store
) -> None:
    rows = {
        split: (
            content.num_images,
            content.num_identities,
            content.num_cameras,
            content.num_distractors,
            content.num_junk,
        )
        for split, content in describe_domain(store, plaza).items()
    }
    assert rows == {
        Split.TRAIN: (36, 6, 3, 0, 0),
        Split.VALIDATION_QUERY: (6, 2, 3, 0, 0),
        Split.VALIDATION_GALLERY: (6, 2, 3, 0, 0),
        Split.QUERY: (12, 4, 3, 0, 0),
        Split.GALLERY: (30, 4, 3, 3, 3),
    }


def test_distributions_agree_with_the_loop(
    small_market: Path, plaza: DomainManifest, store: Store
) -> None:
    described = describe_domain(store, plaza)
    index = hold_out_validation(read_layout("market1501", small_market), share=0.25)
    for split, content in described.items():
        images: dict[int, int] = {}
        cameras: dict[int, set[int]] = {}
        of_camera: dict[int, int] = {}
        sizes = []
        for record in records(index, split):
            of_camera[record.camera] = of_camera.get(record.camera, 0) + 1
            sizes.append((small_market / record.path).stat().st_size)
            if record.identity > 0:
                images[record.identity] = images.get(record.identity, 0) + 1
                cameras.setdefault(record.identity, set()).add(record.camera)
        assert content.images_per_camera == of_camera
        assert sorted(content.image_sizes.tolist()) == sorted(sizes)
        people = sorted(images)
        assert images_per_identity(known(content.people)).tolist() == [images[p] for p in people]
        assert cameras_per_identity(known(content.sightings)).tolist() == [
            len(cameras[p]) for p in people
        ]
    both = [described[split] for split in VALIDATION_SPLITS]
    people = np.concatenate([known(content.people) for content in both])
    sightings = np.concatenate([known(content.sightings) for content in both])
    assert images_per_identity(people).tolist() == [6, 6]
    assert cameras_per_identity(sightings).tolist() == [3, 3]


def test_a_damaged_labels_file_is_named(plaza: DomainManifest, store: Store) -> None:
    key = plaza.split(Split.QUERY).labels.key
    damage(store, key)
    with pytest.raises(ShardError, match=key):
        describe_domain(store, plaza)


def test_a_missing_index_is_named(plaza: DomainManifest, store: Store) -> None:
    key = plaza.split(Split.QUERY).index.key
    store.delete(key)
    with pytest.raises(ShardError, match=f"{key} is missing: .*data verify to see"):
        describe_domain(store, plaza)


def test_a_missing_domain_is_named(store: Store) -> None:
    with pytest.raises(ShardError, match="no domain campus"):
        read_manifest(store, "campus")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_domain_gives_the_same_picture(
    small_market: Path, tmp_path: Path, suffix: str
) -> None:
    store = open_store(str(tmp_path / "store"))
    manifest = import_domain(
        read_layout("market1501", small_market), domain="plaza", to=store, reencode=(24, 16)
    )
    splits = describe_domain(store, manifest)
    files = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for file in files:
        draw_description(splits, manifest=manifest, to=file)
    assert files[0].read_bytes() == files[1].read_bytes()
    if suffix == ".png":
        with Image.open(files[0]) as image:
            picture = np.asarray(image.convert("RGB"))
        colours = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
        assert {(0, 0x72, 0xB2), (0xE6, 0x9F, 0), (0, 0x9E, 0x73)} <= colours
    else:
        assert files[0].read_text().startswith("<?xml")


def test_a_domain_of_train_images_alone_is_drawn(small_market: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    index = read_layout("market1501", small_market)
    manifest = import_domain(index, domain="plaza", to=store, validation_share=0)
    splits = describe_domain(store, manifest)
    draw_description(
        {Split.TRAIN: splits[Split.TRAIN]}, manifest=manifest, to=tmp_path / "train.png"
    )
    with Image.open(tmp_path / "train.png") as picture:
        assert picture.size == (1320, 820)


def test_a_format_that_cannot_be_drawn_is_refused(plaza: DomainManifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither"):
        draw_description({}, manifest=plaza, to=tmp_path / "plaza.jpg")
