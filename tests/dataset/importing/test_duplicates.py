"""Gallery images that repeat a query are found, and the warning says what they mean."""

import logging
from pathlib import Path

import pytest

from daam.dataset.importing.dataset_index import IndexBuilder
from daam.dataset.importing.duplicates import Duplicates
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.domains import Split
from daam.storage import open_store


def report(*images: tuple[Split, int, int, bytes]) -> str | None:
    """What is reported of these images: split, identity, camera, bytes; named by their number."""
    builder = IndexBuilder(layout="csv", root=Path("root"))
    contents = {}
    for number, (split, identity, camera, data) in enumerate(images):
        builder.add(f"{number}.jpg", identity=identity, camera=camera, split=split)
        contents[f"{number}.jpg"] = data
    index = builder.build()
    duplicates = Duplicates()
    for split in index.splits:
        passing = [contents[path] for path in index.shuffled(split)["path"].to_pylist()]
        assert list(duplicates.watch(passing, split=split)) == passing
    return duplicates.report(index)


def test_nothing_is_reported_without_a_duplicate_in_the_gallery() -> None:
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


def test_duplicates_that_a_score_leaves_out_are_distinguished_from_those_that_count() -> None:
    query = (Split.QUERY, 1, 1, b"a")
    junk = [(Split.GALLERY, 1, 1, b"a"), (Split.GALLERY, -1, 2, b"a")]
    assert report(query, *junk) == (
        "gallery images that repeat a query byte for byte: 2 (1.jpg = 0.jpg, 2.jpg = 0.jpg); "
        "all junk to it, by identity and camera, so that no score changes"
    )
    counted = [(Split.GALLERY, 1, 2, b"a"), (Split.GALLERY, 0, 1, b"a")]
    assert report(query, *counted, *junk) == (
        "gallery images that repeat a query byte for byte: 4 (1.jpg = 0.jpg, 2.jpg = 0.jpg, "
        "4.jpg = 0.jpg, ...); 2 of them not junk to it, so that scores count them: remove those"
    )


def test_each_duplicate_is_compared_with_its_own_query() -> None:
    queries = [(Split.QUERY, number, number, b"%d" % number) for number in range(1, 20)]
    same = [(Split.GALLERY, number, number, b"%d" % number) for number in range(1, 20)]
    assert "19 (" in (found := report(*queries, *same) or "")
    assert found.endswith("so that no score changes")
    moved = [(split, identity % 19 + 1, camera, data) for split, identity, camera, data in same]
    assert "19 of them not junk to it" in (report(*queries, *moved) or "")


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
