"""An index keeps its files on disk, in an order of its own, and tells what it is asked."""

import hashlib
import os
import random
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from daam.dataset.importing.layouts import DatasetIndex, ImageRecord, Sighting, SkippedFile
from daam.domains import Split
from daam.errors import LayoutError

NAMES = ("b/2.jpg", "a-1.jpg", "a/10.jpg", "a/9.jpg", "B.jpg", "ä.jpg", "\U0001f6b6.jpg", "z.jpg")


def make_records(seed: int) -> list[ImageRecord]:
    generator = random.Random(seed)
    return [
        ImageRecord(
            path=Path(f"{number}/{name}"),
            identity=generator.choice([-1, 0, 1, 2, 2**62]),
            camera=generator.randint(0, 3),
            split=generator.choice(list(Split)),
        )
        for number in generator.sample(range(100), 20)
        for name in NAMES
    ]


def make_index(records: list[ImageRecord]) -> DatasetIndex:
    index = DatasetIndex(layout="csv", root=Path("root"))
    for record in records:
        assert index.add(record)
    return index


@pytest.mark.parametrize("seed", range(3))
def test_images_come_as_from_a_sorted_list(seed: int) -> None:
    records = make_records(seed)
    index = make_index(records)

    def by_name(record: ImageRecord) -> str:
        return record.path.as_posix()

    in_order = [r for s in Split for r in sorted(records, key=by_name) if r.split == s]
    assert list(index) == in_order
    assert len(index) == len(records)
    two = (Split.GALLERY, Split.TRAIN)
    assert list(index.of(*two)) == [record for record in in_order if record.split in two]
    assert index.count(*two) == sum(record.split in two for record in records)
    for split in Split:
        of_split = [record for record in in_order if record.split == split]
        assert sorted(index.people(split)) == sorted({record.identity for record in of_split})
        assert sorted(index.cameras(split)) == sorted({record.camera for record in of_split})
        assert list(index.shuffled(split)) == sorted(
            of_split, key=lambda record: hashlib.sha256(by_name(record).encode()).digest()
        )
        assert list(index.shuffled_names(split)) == [
            (record.identity, by_name(record)) for record in index.shuffled(split)
        ]
        seen = sorted({(record.identity, record.camera) for record in of_split})
        for sighting, (identity, camera) in zip(index.sightings(split), seen, strict=True):
            images = [r.path for r in of_split if (r.identity, r.camera) == (identity, camera)]
            assert sighting == Sighting(
                identity=identity, camera=camera, first=images[0], num_images=len(images)
            )


def test_a_path_is_taken_once_whether_image_or_skipped() -> None:
    image = ImageRecord(path=Path("a/1.jpg"), identity=1, camera=2, split=Split.TRAIN)
    other = ImageRecord(path=Path("a/1.jpg"), identity=3, camera=4, split=Split.QUERY)
    index = make_index([image])
    assert not index.add(other)
    assert not index.skip(image.path, "in no list")
    assert index.skip(Path("b"), "not an image file")
    assert not index.skip(Path("b"), "in no list")
    assert (list(index), list(index.skipped())) == (
        [image],
        [SkippedFile(path=Path("b"), reason="not an image file")],
    )


@pytest.mark.parametrize(
    ("identity", "camera", "complaint"),
    [
        (2**63, 1, "a.jpg has identity 9223372036854775808, which is too large"),
        (1, 2**31, "a.jpg has camera 2147483648, which is too large"),
    ],
)
def test_numbers_that_no_shard_has_room_for_are_refused(
    identity: int, camera: int, complaint: str
) -> None:
    index = DatasetIndex(layout="csv", root=Path("root"))
    fits = ImageRecord(path=Path("b.jpg"), identity=2**63 - 1, camera=2**31 - 1, split=Split.TRAIN)
    assert index.add(fits)
    record = ImageRecord(path=Path("a.jpg"), identity=identity, camera=camera, split=Split.TRAIN)
    with pytest.raises(LayoutError, match=complaint):
        index.add(record)
    assert list(index) == [fits]


@pytest.mark.timeout(60)
def test_threads_read_one_index_at_once() -> None:
    index = DatasetIndex(layout="csv", root=Path("root"))
    for number in range(3000):
        path = Path(f"{number}.jpg")
        index.add(ImageRecord(path=path, identity=number % 50, camera=1, split=Split.TRAIN))

    def read(_: int) -> tuple[list[tuple[int, str]], list[Sighting]]:
        return list(index.shuffled_names(Split.TRAIN)), list(index.copy().sightings(Split.TRAIN))

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(read, range(24))
    assert len(first[0]) == 3000
    assert all(other == first for other in others)


def test_a_copy_is_changed_on_its_own() -> None:
    index = make_index(make_records(0))
    index.skip(Path("notes.txt"), "not an image file")
    before = list(index)
    copy = index.copy()
    first = before[0]
    copy.move(first.path, Split.GALLERY)
    assert list(index) == before
    assert copy.count(Split.GALLERY) == index.count(Split.GALLERY) + 1
    assert first.path in {record.path for record in copy.of(Split.GALLERY)}
    assert list(copy.skipped()) == list(index.skipped())


def test_people_are_moved_with_all_their_images_of_a_split() -> None:
    index = make_index(make_records(1))
    before = list(index)
    for _ in range(2):  # a second time there is nobody left
        index.move_people(iter([1, 2**62, 7]), split=Split.TRAIN, to=Split.VALIDATION_GALLERY)
    moved = {r.path for r in before if r.split == Split.TRAIN and r.identity in (1, 2**62)}
    assert moved
    for record in index:
        (was,) = (r for r in before if r.path == record.path)
        split = Split.VALIDATION_GALLERY if record.path in moved else was.split
        assert record == replace(was, split=split)


def test_namesakes_are_the_same_pair_in_whatever_order_they_come() -> None:
    paths = [Path("x/1.jpg"), Path("x/3.jpg"), Path("y/2.jpg"), Path("z/2.jpg"), Path("z/1.jpg")]
    for order in (paths, paths[::-1]):
        index = DatasetIndex(layout="randperson", root=Path("root"))
        for path in order:
            index.add(ImageRecord(path=path, identity=1, camera=1, split=Split.TRAIN))
        assert index.namesakes() == (Path("x/1.jpg"), Path("z/1.jpg"))
    index = DatasetIndex(layout="randperson", root=Path("root"))
    index.add(ImageRecord(path=paths[0], identity=1, camera=1, split=Split.TRAIN))
    index.skip(paths[4], "sorted out by the authors")
    assert index.namesakes() is None


def test_a_name_that_is_no_utf8_is_skipped_beside_images_and_refused_as_one(
    tmp_path: Path,
) -> None:
    stray = Path(os.fsdecode(b"caf\xe9.txt"))
    index = DatasetIndex(layout="csv", root=tmp_path)
    index.skip(stray, "not an image file")
    assert [file.path for file in index.skipped()] == [stray]
    image = ImageRecord(
        path=Path(os.fsdecode(b"caf\xe9.jpg")), identity=1, camera=1, split=Split.TRAIN
    )
    with pytest.raises(LayoutError, match=r"caf\\udce9.jpg' has a name that is no UTF-8; rename"):
        index.add(image)


# In a process of its own, where no file may grow beyond a megabyte.
FULL_DISK = """
    import resource
    from pathlib import Path
    from daam.dataset.importing.layouts import DatasetIndex, ImageRecord
    from daam.domains import Split
    from daam.errors import StorageError

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    index = DatasetIndex(layout="csv", root=Path("plaza"))
    try:
        for number in range(100_000):
            path = Path(f"{number:0200}.jpg")
            index.add(ImageRecord(path=path, identity=1, camera=1, split=Split.TRAIN))
    except StorageError as error:
        print(error)
"""


def test_a_disk_that_does_not_take_the_list_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("cannot keep the list of files of plaza in a temporary file: ")
    assert "set TMPDIR to a folder that has it" in done.stdout
    assert list(tmp_path.iterdir()) == []
