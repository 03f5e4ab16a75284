"""Copies of a query in the gallery are found while images pass by, and what they mean is said."""

import logging
from pathlib import Path

import pytest

from daam.dataset.importing.duplicates import CopiesOfQueries
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import ImageRecord, read_layout
from daam.domains import Split
from daam.storage import open_store


def report(*images: tuple[Split, int, int, bytes]) -> str | None:
    """What is said of these images: split, identity, camera, bytes; named by their number."""
    copies = CopiesOfQueries()
    for split in Split:
        of_split = [(n, *image) for n, image in enumerate(images) if image[0] == split]
        passing = [
            (
                data,
                ImageRecord(path=Path(f"{n}.jpg"), identity=identity, camera=camera, split=split),
            )
            for n, _, identity, camera, data in of_split
        ]
        assert list(copies.watched(passing)) == passing
    return copies.report()


def test_nothing_is_said_without_a_copy_in_the_gallery() -> None:
    assert report() is None
    assert (
        report(
            (Split.GALLERY, 1, 1, b"a"),
            (Split.GALLERY, 2, 1, b"a"),
            (Split.QUERY, 1, 2, b"b"),
            (Split.TRAIN, 3, 1, b"b"),
            (Split.VALIDATION_GALLERY, 3, 1, b"b"),
        )
        is None
    )


def test_copies_that_a_score_leaves_out_are_told_from_those_that_count() -> None:
    query = (Split.QUERY, 1, 1, b"a")
    junk = [(Split.GALLERY, 1, 1, b"a"), (Split.GALLERY, -1, 2, b"a")]
    assert report(query, *junk) == (
        "gallery images that repeat a query byte for byte: 2 (1.jpg = 0.jpg, 2.jpg = 0.jpg); "
        "all junk to it, by identity and camera, so that no score changes"
    )
    counted = [(Split.GALLERY, 1, 2, b"a"), (Split.GALLERY, 0, 1, b"a")]
    assert report(query, *counted, *junk) == (
        "gallery images that repeat a query byte for byte: 4 (1.jpg = 0.jpg, 2.jpg = 0.jpg, "
        "3.jpg = 0.jpg, ...); 2 of them not junk to it, so that scores count them: remove those"
    )


def test_an_import_warns_once_and_keeps_every_image(
    small_market: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(str(tmp_path / "store"))
    import_domain(read_layout("market1501", small_market), domain="plaza", to=store)
    assert caplog.records == []
    query = sorted((small_market / "query").glob("*.jpg"))[0]
    copy = small_market / "bounding_box_test" / "0104_c3s1_000999_00.jpg"
    copy.write_bytes(query.read_bytes())
    with caplog.at_level(logging.WARNING):
        manifest = import_domain(read_layout("market1501", small_market), domain="plaza", to=store)
    assert [record.getMessage() for record in caplog.records] == [
        f"plaza: gallery images that repeat a query byte for byte: 1 (bounding_box_test/"
        f"{copy.name} = query/{query.name}); 1 of them not junk to it, so that scores count them: "
        "remove those"
    ]
    assert manifest.splits[Split.GALLERY].num_rows == 31
