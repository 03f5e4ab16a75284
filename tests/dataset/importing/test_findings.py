"""What is odd about a data set is said at its import, and nothing is said about a good one."""

from pathlib import Path

from daam.dataset.importing.dataset_index import DatasetIndex, IndexBuilder
from daam.dataset.importing.findings import findings
from daam.dataset.importing.hold_out import hold_out_validation
from daam.dataset.importing.layouts import read_layout
from daam.domains import Split

# split, identity, camera, track of each image
Row = tuple[Split, int | None, int | None, int | None]


def make_index(*rows: Row) -> DatasetIndex:
    index = IndexBuilder(layout="csv", root=Path("root"))
    for number, (split, identity, camera, track) in enumerate(rows):
        index.add(f"{number:02}.jpg", split=split, identity=identity, camera=camera, track=track)
    return index.build()


def test_nothing_is_said_of_a_good_data_set(small_market: Path) -> None:
    index = hold_out_validation(read_layout("market1501", small_market), share=0.25)
    assert findings(index) == ()


def test_one_camera_is_said() -> None:
    assert findings(make_index((Split.TRAIN, None, 4, None), (Split.TRAIN, None, 4, None))) == (
        "all train images are of one camera, 4: enough to train and embed, but nobody can be "
        "matched across cameras",
    )


def test_that_neither_people_nor_cameras_are_known_is_said() -> None:
    (said,) = findings(make_index((Split.TRAIN, None, None, 1), (Split.TRAIN, None, None, 1)))
    assert "choosing settings without labels then gains nothing" in said
    people: list[Row] = [(Split.TRAIN, number // 2, None, None) for number in range(4)]
    assert findings(make_index(*people)) == ()


def test_a_counter_that_is_no_camera_is_said() -> None:
    rows: list[Row] = [(Split.TRAIN, None, number % 2, number) for number in range(12)]
    (said,) = findings(make_index(*rows))
    assert said == "train: 12 images have 12 tracks; is that number a counter of images?"
    rows = [(Split.TRAIN, None, number, None) for number in range(12)]
    (said,) = findings(make_index(*rows))
    assert said == "train: 12 images have 12 cameras; is that number a counter of images?"


def test_people_with_one_image_are_said() -> None:
    rows: list[Row] = [(Split.TRAIN, number + 1, number % 2, None) for number in range(12)]
    (said,) = findings(make_index(*rows))
    assert "12 images show 12 people" in said


def test_one_person_is_said() -> None:
    (said,) = findings(make_index((Split.TRAIN, 7, 1, None), (Split.TRAIN, 7, 2, None)))
    assert said == "all train images show one person: a target can be that, but not a source"


def test_a_track_of_two_people_is_said() -> None:
    rows: list[Row] = [(Split.TRAIN, 1, 1, 1), (Split.TRAIN, 1, 2, 2), (Split.TRAIN, 2, 1, 1)]
    rows += [(Split.TRAIN, 2, 2, 3)]
    (said,) = findings(make_index(*rows))
    assert said == (
        "train: of 3 tracks 1 have images of more than one person (00.jpg, 02.jpg): either is wrong"
    )


def test_queries_without_a_match_under_another_camera_are_said() -> None:
    query, gallery = Split.QUERY, Split.GALLERY
    rows: list[Row] = [
        (query, 1, 1, None),
        (query, 2, 1, None),
        (query, 3, 1, None),
        (gallery, 1, 2, None),
        (gallery, 2, 1, None),
        (gallery, -1, 2, None),
    ]
    (said,) = findings(make_index(*rows))
    assert said.startswith(
        "2 of 3 queries do not have their person in the gallery under another camera (01.jpg, 02"
    )
    (said,) = findings(make_index(rows[1], rows[4], rows[5]))
    assert said.startswith("no query has its person in the gallery under another camera")


def test_without_cameras_any_image_of_the_person_is_a_match() -> None:
    rows: list[Row] = [(Split.QUERY, 1, None, None), (Split.GALLERY, 1, None, None)]
    assert findings(make_index(*rows)) == ()
    (said,) = findings(make_index(*rows, (Split.QUERY, 2, None, None)))
    assert said.startswith("1 of 2 queries do not have their person in the gallery (02.jpg)")


def test_people_in_train_and_test_are_said() -> None:
    rows: list[Row] = [
        *[(Split.TRAIN, identity, camera, None) for identity in (1, 2) for camera in (1, 2)],
        (Split.QUERY, 1, 1, None),
        (Split.GALLERY, 1, 2, None),
        (Split.GALLERY, 0, 2, None),
    ]
    (said,) = findings(make_index(*rows))
    assert said.startswith("people in train and in query or gallery: 1 (1);")
