"""Validation identities are cut out of train, and every query can be answered."""

import hashlib
import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from daam.dataset.importing.dataset_index import DatasetIndex, IndexBuilder
from daam.dataset.importing.hold_out import cut_test_splits, hold_out_validation
from daam.domains import VALIDATION_SPLITS, Split
from daam.errors import DataError
from tests.support.layout_trees import records


def make_index(images: dict[int, list[int]], *, split: Split = Split.TRAIN) -> DatasetIndex:
    """identity -> the camera of each of its images."""
    index = IndexBuilder(layout="csv", root=Path("root"))
    for identity, cameras in images.items():
        for number, camera in enumerate(cameras):
            index.add(f"{identity}_{number}", identity=identity, camera=camera, split=split)
    return index.build()


def random_index(seed: int) -> DatasetIndex:
    generator = random.Random(seed)
    return make_index(
        {
            identity: generator.choices([1, 2, 3], k=generator.randint(1, 6))
            for identity in generator.sample(range(1, 1000), 40)
        }
    )


def held_out_by_hand(index: DatasetIndex, share: float) -> dict[str, Split]:
    digests = [
        (hashlib.sha256(b"daam validation %d" % identity).digest(), identity)
        for identity in {record.identity for record in records(index)}
    ]
    chosen = [identity for _, identity in sorted(digests)][: max(2, round(share * len(digests)))]
    splits = {}
    for identity in chosen:
        cameras = defaultdict(list)
        for record in records(index):
            if record.identity == identity:
                cameras[record.camera].append(record.path)
                splits[record.path] = Split.VALIDATION_GALLERY
        if len(cameras) == 1:
            continue
        for names in cameras.values():
            if len(names) > 1:
                splits[names[0]] = Split.VALIDATION_QUERY
        if all(len(names) == 1 for names in cameras.values()):
            splits[cameras[min(cameras)][0]] = Split.VALIDATION_QUERY
    return splits


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_the_loop(seed: int, share: float) -> None:
    index = random_index(seed)
    after = hold_out_validation(index, share=share)
    expected = held_out_by_hand(index, share)
    assert {record.path: record.split for record in records(after)} == {
        record.path: expected.get(record.path, Split.TRAIN) for record in records(index)
    }
    assert {record.split for record in records(index)} == {Split.TRAIN}


@pytest.mark.parametrize("seed", range(5))
def test_no_identity_is_on_both_sides_and_every_query_has_its_match(seed: int) -> None:
    after = hold_out_validation(random_index(seed), share=0.5)
    train = {record.identity for record in records(after, Split.TRAIN)}
    assert train.isdisjoint(record.identity for record in records(after, *VALIDATION_SPLITS))
    gallery = {
        (record.identity, record.camera) for record in records(after, Split.VALIDATION_GALLERY)
    }
    for query in records(after, Split.VALIDATION_QUERY):
        assert any(
            identity == query.identity and camera != query.camera for identity, camera in gallery
        )


def test_the_choice_does_not_depend_on_the_order_or_on_other_splits() -> None:
    index = random_index(0)
    others = make_index({0: [1], -1: [2]}, split=Split.GALLERY)
    backwards = IndexBuilder(layout="csv", root=index.root)
    for split, path, identity, camera in (*reversed(records(index)), *records(others)):
        backwards.add(path, identity=identity, camera=camera, split=Split(split))
    chosen = {
        record.identity for record in records(hold_out_validation(index, share=0.3), Split.TRAIN)
    }
    again = hold_out_validation(backwards.build(), share=0.3)
    assert {record.identity for record in records(again, Split.TRAIN)} == chosen
    assert len(records(again, Split.GALLERY)) == 2


def test_two_identities_give_one_to_each_side() -> None:
    after = hold_out_validation(make_index({1: [1, 2], 2: [1, 2]}), share=0.25)
    assert len({record.identity for record in records(after, Split.TRAIN)}) == 1
    assert len(records(after, Split.VALIDATION_QUERY)) == 1


def test_nothing_to_hold_out_changes_nothing() -> None:
    index = make_index({1: [1, 2], 2: [1, 2]})
    assert hold_out_validation(index, share=0) is index
    gallery = make_index({1: [1, 2]}, split=Split.GALLERY)
    assert hold_out_validation(gallery, share=0.25) is gallery


@pytest.mark.parametrize(
    ("images", "share", "complaint"),
    [
        ({1: [1, 1], 2: [2, 2], 3: [1], 11: [1, 2]}, 0.25, "none of the 2 identities"),
        ({1: [1, 2]}, 0.25, "none of the 0 identities"),
        ({1: [1, 2], 2: [1, 2]}, 1.0, "not in"),
        ({1: [1, 2], 2: [1, 2]}, -0.1, "not in"),
    ],
)
def test_what_cannot_be_validated_is_refused(
    images: dict[int, list[int]], share: float, complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        hold_out_validation(make_index(images), share=share)


@pytest.mark.parametrize("seed", range(5))
def test_a_test_set_is_cut_by_person_and_every_query_has_its_match(seed: int) -> None:
    after = cut_test_splits(random_index(seed), share=0.3)
    assert after.cut_test == 0.3
    assert {record.split for record in records(after)} == {"train", "query", "gallery"}
    train = {record.identity for record in records(after, Split.TRAIN)}
    tested = {record.identity for record in records(after, Split.QUERY, Split.GALLERY)}
    assert train.isdisjoint(tested)
    assert len(tested) == round(0.3 * (len(train) + len(tested)))
    gallery = {(record.identity, record.camera) for record in records(after, Split.GALLERY)}
    for query in records(after, Split.QUERY):
        assert any(
            identity == query.identity and camera != query.camera for identity, camera in gallery
        )


def test_validation_people_are_others_than_those_of_the_test_set() -> None:
    index = cut_test_splits(random_index(0), share=0.3)
    after = hold_out_validation(index, share=0.25)
    for split in (Split.QUERY, Split.GALLERY):
        assert records(after, split) == records(index, split)
    assert Split.VALIDATION_QUERY in after.splits


def test_names_decide_who_is_moved_whatever_their_numbers_are() -> None:
    """So one person more, whose name sorts first, moves nobody else."""
    people = [f"p{number:02}" for number in range(20)]

    def held_out(names: list[str]) -> set[str]:
        index = make_index({number: [1, 2] for number in range(1, len(names) + 1)})
        numbered = dict(enumerate(sorted(names), start=1))
        after = hold_out_validation(replace(index, identity_names=numbered), share=0.5)
        return {numbered[record.identity] for record in records(after, *VALIDATION_SPLITS)}

    before, later = held_out(people), held_out(["aaa", *people])
    assert len(before - later) <= 1


@pytest.mark.parametrize(
    ("index", "share", "complaint"),
    [
        (make_index({1: [1, 2], 2: [1, 2]}), 1.0, "not in"),
        (
            make_index({1: [1, 1], 2: [2, 2]}),
            0.3,
            "nobody in train was seen by two cameras, so nothing can be tested; leave",
        ),
        (
            make_index({1: [1, 2]}, split=Split.QUERY),
            0.3,
            "has query and gallery already; import it without --cut-test",
        ),
    ],
)
def test_what_cannot_be_tested_is_refused(
    index: DatasetIndex, share: float, complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        cut_test_splits(index, share=share)


def test_a_test_set_needs_people() -> None:
    builder = IndexBuilder(layout="folder", root=Path("root"))
    for number in range(4):
        builder.add(f"{number}.jpg", identity=None, camera=number % 2, split=Split.TRAIN)
    with pytest.raises(DataError, match="nothing says who is in the images of root"):
        cut_test_splits(builder.build(), share=0.3)


def test_people_whom_one_camera_saw_are_not_held_out_and_this_is_noted() -> None:
    index = make_index({1: [1, 1], 2: [2, 2], 3: [1]})
    after = hold_out_validation(index, share=0.25)
    assert after.splits == index.splits
    assert after.notes == (
        "nobody in train was seen by two cameras, so none are held out for validation",
    )


def test_holding_out_twice_is_refused() -> None:
    once = hold_out_validation(random_index(0), share=0.25)
    with pytest.raises(DataError, match="only once"):
        hold_out_validation(once, share=0.25)
