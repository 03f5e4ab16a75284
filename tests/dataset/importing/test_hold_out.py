"""Validation identities are cut out of train, and every query can be answered."""

import hashlib
import random
from collections import defaultdict
from pathlib import Path

import pytest

from daam.dataset.importing.dataset_index import DatasetIndex, IndexBuilder
from daam.dataset.importing.hold_out import hold_out_validation
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
        ({1: [1, 1], 2: [2, 2], 3: [1]}, 0.25, "none of the 2 identities"),
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


def test_holding_out_twice_is_refused() -> None:
    once = hold_out_validation(random_index(0), share=0.25)
    with pytest.raises(DataError, match="only once"):
        hold_out_validation(once, share=0.25)
