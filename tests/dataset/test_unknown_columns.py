"""What a data set does not say is unknown from the import to the picture, never a number."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import DomainManifest, read_manifest
from daam.dataset.importing.dataset_index import IndexBuilder
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.maintenance.describe import describe_domain
from daam.dataset.maintenance.verify import verify_domain
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities
from daam.domains import Split
from daam.errors import DataError, ShardError
from daam.plots.contact_sheet import draw_contact_sheet
from daam.plots.domain_histograms import draw_description
from daam.storage import Store, open_store
from tests.support.drawn_pixels import pixels
from tests.support.known import known

COLUMNS = ("identity", "camera", "track", "time")
NUM_IMAGES = 12


def folder_of_images(folder: Path) -> Path:
    folder.mkdir()
    for number in range(NUM_IMAGES):
        level = np.full((32, 16, 3), 20 * number, np.uint8)
        (folder / f"{number:02}.jpg").write_bytes(simplejpeg.encode_jpeg(level))
    return folder


def values_of(number: int, *, given: Collection[str]) -> dict[str, int | None]:
    values = {
        "identity": 1 + number // 3,
        "camera": 1 + number % 3,
        "track": 1 + number // 2,
        "time": -(10**12) + number,
    }
    return {name: values[name] if name in given else None for name in COLUMNS}


def imported(tmp_path: Path, *, given: set[str]) -> tuple[Store, DomainManifest]:
    root = folder_of_images(tmp_path / "raw")
    builder = IndexBuilder(layout="folder", root=root)
    for number in range(NUM_IMAGES):
        values = values_of(number, given=given)
        builder.add(f"{number:02}.jpg", split=Split.TRAIN, **values)
    store = open_store(str(tmp_path / "store"))
    manifest = import_domain(builder.build(), domain="mine", to=store)
    assert read_manifest(store, "mine") == manifest
    return store, manifest


@pytest.mark.parametrize(
    "given",
    [set(), {"camera"}, {"track"}, {"camera", "track", "time"}, {"identity"}, set(COLUMNS)],
    ids=lambda given: "+".join(sorted(given)) or "nothing",
)
def test_each_column_is_read_or_unknown(tmp_path: Path, given: set[str]) -> None:
    store, manifest = imported(tmp_path, given=given)
    splits = manifest.whole_train_splits
    assert len(splits) == (3 if "identity" in given else 1)  # only known people are held out
    where = {"manifest": manifest, "splits": splits, "cache": ShardCache(tmp_path / "cache")}
    images = open_images(store, **where)
    order = [int(simplejpeg.decode_jpeg(j)[0, 0, 0]) // 20 for j in images.jpegs(np.arange(12))]
    for name, column, dtype in (
        ("camera", images.cameras, np.int32),
        ("track", images.tracks, np.int32),
        ("time", images.times, np.int64),
    ):
        if name in given:
            assert known(column).dtype == dtype
            expected = [values_of(number, given=given)[name] for number in order]
            assert known(column).tolist() == expected
        else:
            assert column is None
    if "identity" in given:
        assert read_identities(store, **where).tolist() == [1 + number // 3 for number in order]
    else:
        with pytest.raises(ShardError, match=r"mine knows no identities in train.* labelled"):
            read_identities(store, **where)
    assert [check.problem for check in verify_domain(store, manifest) if check.problem] == []

    described = describe_domain(store, manifest)[Split.TRAIN]
    assert (described.num_identities is None) == ("identity" not in given)
    assert (described.num_junk is None) == ("identity" not in given)
    assert described.num_cameras == (3 if "camera" in given else None)
    assert (described.sightings is None) == (not {"identity", "camera"} <= given)


@pytest.mark.parametrize("given", [set(), {"camera"}, {"track"}, {"identity"}, set(COLUMNS)])
def test_the_pictures_of_a_domain_show_what_there_is(tmp_path: Path, given: set[str]) -> None:
    store, manifest = imported(tmp_path, given=given)
    draw_description(
        describe_domain(store, manifest), manifest=manifest, to=tmp_path / "description.png"
    )
    draw_contact_sheet(store, domain="mine", num_people=2, to=tmp_path / "sheet.png")
    shown = {round(float(level) / 20) for level in np.unique(pixels(tmp_path / "sheet.png"))}
    assert len(shown & set(range(NUM_IMAGES))) >= 2


@pytest.mark.parametrize("name", COLUMNS)
def test_what_some_images_of_a_split_lack_is_refused(tmp_path: Path, name: str) -> None:
    builder = IndexBuilder(layout="folder", root=tmp_path)
    for number in range(6):
        values = values_of(number, given=set(COLUMNS) - ({name} if number % 2 else set()))
        builder.add(f"{number}.jpg", split=Split.TRAIN, **values)
    with pytest.raises(
        DataError, match=rf"3 of 6 images of train in .* no {name} \(1.jpg, 3.jpg, 5.jpg\)"
    ):
        builder.build()


@pytest.mark.parametrize("split", [Split.QUERY, Split.GALLERY])
def test_a_test_without_identities_is_refused(tmp_path: Path, split: Split) -> None:
    builder = IndexBuilder(layout="folder", root=tmp_path)
    builder.add("a.jpg", split=split, identity=None, camera=1)
    with pytest.raises(DataError, match=f"{split} of .* without an identity"):
        builder.build()


def test_splits_may_know_different_things(tmp_path: Path) -> None:
    root = folder_of_images(tmp_path / "raw")
    builder = IndexBuilder(layout="folder", root=root)
    for number, split in enumerate([Split.TRAIN] * 4 + [Split.QUERY] * 4 + [Split.GALLERY] * 4):
        given: set[str] = set() if split is Split.TRAIN else {"identity", "camera"}
        values = values_of(number % 4, given=given)
        builder.add(f"{number:02}.jpg", split=split, **values)
    store = open_store(str(tmp_path / "store"))
    manifest = import_domain(builder.build(), domain="mine", to=store)
    where = {"manifest": manifest, "cache": ShardCache(tmp_path / "cache")}
    assert known(open_images(store, splits=[Split.QUERY], **where).cameras).shape == (4,)
    assert open_images(store, splits=[Split.TRAIN], **where).cameras is None
    assert open_images(store, splits=[Split.TRAIN, Split.QUERY], **where).cameras is None


def test_tracks_change_the_digest_of_unlabelled_images(tmp_path: Path) -> None:
    """They are supervision, so that a resumed run must have the same ones."""
    digests = set()
    for given in (set(), {"track"}):
        folder = tmp_path / "+".join(given or {"none"})
        folder.mkdir()
        _, manifest = imported(folder, given=given)
        digests.add(manifest.digest([Split.TRAIN], with_labels=False))
    assert len(digests) == 2
