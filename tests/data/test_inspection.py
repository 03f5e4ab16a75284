"""A domain is counted as it was imported, and every wrong byte of it is found."""

from pathlib import Path

import pytest

from daam.data.importing import import_domain
from daam.data.inspection import describe_domain, verify_domain
from daam.data.layouts import read_layout
from daam.domains import Split
from daam.errors import ShardError
from daam.storage import Store


@pytest.fixture
def plaza(small_market: Path, store: Store) -> Store:
    index = read_layout("market1501", small_market)
    import_domain(index, domain="plaza", to=store, shard_size_bytes=20_000)
    return store


def test_it_counts_people_apart_from_distractors_and_junk(plaza: Store) -> None:
    rows = {
        description.split: (
            description.num_images,
            description.num_identities,
            description.num_cameras,
            description.num_distractors,
            description.num_junk,
        )
        for description in describe_domain(plaza, "plaza")
    }
    assert rows == {
        Split.TRAIN: (36, 6, 3, 0, 0),
        Split.VALIDATION_QUERY: (6, 2, 3, 0, 0),
        Split.VALIDATION_GALLERY: (6, 2, 3, 0, 0),
        Split.QUERY: (12, 4, 3, 0, 0),
        Split.GALLERY: (30, 4, 3, 3, 3),
    }


def test_a_whole_domain_has_no_problem(plaza: Store) -> None:
    checks = list(verify_domain(plaza, "plaza"))
    assert {check.key for check in checks} == set(plaza.list()) - {"plaza/manifest.json"}
    assert sum(check.size_bytes for check in checks) == sum(
        plaza.size(check.key) for check in checks
    )
    assert [check.problem for check in checks] == [None] * len(checks)


@pytest.mark.parametrize("part", ["gallery-00000", "gallery-labels"])
@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_a_flipped_bit_is_found_wherever_it_is(plaza: Store, part: str, position: float) -> None:
    key = next(key for key in plaza.list(f"plaza/{part}"))
    data = bytearray(plaza.read(key))
    data[int(position * (len(data) - 1))] ^= 1
    plaza.write(key, bytes(data))
    problems = {check.key: check.problem for check in verify_domain(plaza, "plaza")}
    assert [name for name, problem in problems.items() if problem] == [key]
    assert "damaged" in str(problems[key])


def test_a_missing_file_is_a_problem_of_that_file(plaza: Store) -> None:
    key = next(key for key in plaza.list("plaza/train-"))
    plaza.delete(key)
    problems = {check.key: check.problem for check in verify_domain(plaza, "plaza")}
    assert [name for name, problem in problems.items() if problem] == [key]


def test_a_domain_that_is_not_there_is_said(store: Store) -> None:
    with pytest.raises(ShardError, match="no domain campus"):
        describe_domain(store, "campus")
    with pytest.raises(ShardError, match="no domain campus"):
        list(verify_domain(store, "campus"))
