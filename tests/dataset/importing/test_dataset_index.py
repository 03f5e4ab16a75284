"""An index is sorted in whatever order files are added, and refuses what a shard cannot hold."""

import hashlib
import os
import random
from pathlib import Path

import pytest

from daam.dataset.importing.dataset_index import (
    ROWS_PER_BATCH,
    DatasetIndex,
    DuplicatePathError,
    IndexBuilder,
    SkippedFile,
)
from daam.domains import Split
from daam.errors import LayoutError
from tests.support.layout_trees import Record, records

NAMES = ("b/2.jpg", "a-1.jpg", "a/10.jpg", "a/9.jpg", "B.jpg", "ä.jpg", "\U0001f6b6.jpg", "z.jpg")


def make_records(seed: int) -> list[Record]:
    generator = random.Random(seed)
    return [
        Record(
            path=f"{number}/{name}",
            identity=generator.choice([-1, 0, 1, 2, 2**63 - 1]),
            camera=generator.choice([0, 1, 2, 2**31 - 1]),
            split=generator.choice(list(Split)),
        )
        for number in generator.sample(range(100), 20)
        for name in NAMES
    ]


def make_index(images: list[Record]) -> DatasetIndex:
    index = IndexBuilder(layout="csv", root=Path("root"))
    for split, path, identity, camera in images:
        index.add(path, identity=identity, camera=camera, split=Split(split))
    return index.build()


@pytest.mark.parametrize("seed", range(3))
def test_images_come_as_from_a_sorted_list(seed: int) -> None:
    images = make_records(seed)
    index = make_index(images)
    by_path = sorted(images, key=lambda image: image.path)
    assert records(index) == [image for split in Split for image in by_path if image.split == split]
    assert len(index) == len(images)
    assert list(index.splits) == list(Split)


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_images_are_in_the_order_of_the_hash_of_their_paths(seed: int) -> None:
    images = make_records(seed)
    index = make_index(images)
    for split in Split:
        shuffled = sorted(
            (image for image in images if image.split == split),
            key=lambda image: hashlib.sha256(image.path.encode()).digest(),
        )
        columns = ["path", "identity", "camera"]
        assert index.shuffled(split).select(columns).to_pylist() == [
            {"path": path, "identity": identity, "camera": camera}
            for _, path, identity, camera in shuffled
        ]


def test_more_images_than_a_batch_holds_are_all_there() -> None:
    images = [
        Record(path=f"{number}.jpg", identity=1, camera=number % 7, split=Split.TRAIN)
        for number in range(ROWS_PER_BATCH + 2)
    ]
    assert set(records(make_index(images))) == set(images)


def test_skipped_files_are_sorted_by_reason_then_path() -> None:
    index = IndexBuilder(layout="csv", root=Path("root"))
    index.add("a/1.jpg", identity=1, camera=1, split=Split.TRAIN)
    for path, reason in (("b", "in no list"), ("d", "a folder"), ("a", "in no list")):
        index.skip(path, reason)
    assert index.build().skipped == (
        SkippedFile(path="d", reason="a folder"),
        SkippedFile(path="a", reason="in no list"),
        SkippedFile(path="b", reason="in no list"),
    )


def test_an_image_that_is_added_twice_is_refused_even_in_two_splits() -> None:
    index = IndexBuilder(layout="csv", root=Path("root"))
    for number in range(3):
        index.add(f"a/{number}.jpg", identity=1, camera=2, split=Split.TRAIN)
    index.add("a/1.jpg", identity=3, camera=4, split=Split.QUERY)
    with pytest.raises(DuplicatePathError, match=r"root/a/1\.jpg is listed a second") as refused:
        index.build()
    assert refused.value.path == "a/1.jpg"


@pytest.mark.parametrize(
    ("identity", "camera", "complaint"),
    [
        (2**63, 1, "a.jpg has identity 9223372036854775808, which is too large"),
        (1, 2**31, "a.jpg has camera 2147483648, which is too large"),
    ],
)
def test_numbers_that_no_shard_can_hold_are_refused(
    identity: int, camera: int, complaint: str
) -> None:
    index = IndexBuilder(layout="csv", root=Path("root"))
    with pytest.raises(LayoutError, match=complaint):
        index.add("a.jpg", identity=identity, camera=camera, split=Split.TRAIN)


def test_a_name_that_is_not_utf8_is_skipped_beside_images_and_refused_as_one() -> None:
    stray = os.fsdecode(b"caf\xe9.txt")
    index = IndexBuilder(layout="csv", root=Path("root"))
    index.skip(stray, "not an image file")
    assert [file.path for file in index.build().skipped] == [stray]
    with pytest.raises(LayoutError, match=r"caf\\udce9.jpg' has a name that is not UTF-8; rename"):
        index.add(os.fsdecode(b"caf\xe9.jpg"), identity=1, camera=1, split=Split.TRAIN)
