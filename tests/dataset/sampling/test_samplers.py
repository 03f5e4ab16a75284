import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from daam.dataset.draws import draw_uniform
from daam.dataset.sampling.samplers import (
    BatchSampler,
    IdentityBatches,
    RowsByIdentity,
    ShuffledBatches,
    rank_slice,
)
from daam.errors import ConfigError, DataError


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    """37 identities (numbers with gaps) with 1 to 12 images in 1 to 5 cameras, and 20 outliers."""
    generator = np.random.default_rng(1)
    identities, cameras = [], []
    for identity in range(37):
        for _ in range(1 + identity % 12):
            identities.append(3 * identity)
            cameras.append(int(generator.integers(1 + identity % 5)))
    identities += [-1] * 20
    cameras += generator.integers(0, 5, 20).tolist()
    order = generator.permutation(len(identities))
    return np.array(identities)[order], np.array(cameras)[order]


def identity_batches(labels, *, seed: int = 0, epoch: int = 0) -> IdentityBatches:
    return IdentityBatches(
        RowsByIdentity(*labels),
        identities_per_batch=8,
        images_per_identity=4,
        seed=seed,
        epoch=epoch,
    )


def test_each_batch_has_p_identities_with_k_images_side_by_side(labels):
    identities, _ = labels
    sampler = identity_batches(labels)
    assert (sampler.batch_size, sampler.block_size) == (32, 4)
    for step in range(30):
        rows = sampler.batch(step)
        assert rows.shape == (32,)
        assert rows.dtype == np.int64
        of_block = identities[rows].reshape(8, 4)
        assert (of_block == of_block[:, :1]).all()
        assert len(set(of_block[:, 0].tolist())) == 8
        assert (of_block >= 0).all()


def test_an_identity_shows_as_many_cameras_and_images_as_it_can(labels):
    identities, cameras = labels
    sampler = identity_batches(labels)
    for step in range(30):
        for block in sampler.batch(step).reshape(8, 4):
            all_rows = np.flatnonzero(identities == identities[block[0]])
            num_cameras = len(set(cameras[all_rows].tolist()))
            assert len(set(cameras[block].tolist())) == min(4, num_cameras)
            assert len(set(block.tolist())) == min(4, len(all_rows))
            uses = Counter(block.tolist())
            assert max(uses.values()) - min(uses.values()) <= 1


def test_cameras_take_turns_when_there_are_fewer_than_images():
    identities = np.zeros(21, dtype=np.int64)
    cameras = np.array([0] * 18 + [1] * 3)
    sampler = IdentityBatches(
        RowsByIdentity(identities, cameras),
        identities_per_batch=1,
        images_per_identity=6,
        seed=0,
        epoch=0,
    )
    for step in range(20):
        assert Counter(cameras[sampler.batch(step)].tolist()) == {0: 3, 1: 3}


def test_every_identity_is_seen_before_one_comes_again(labels):
    identities, _ = labels
    sampler = identity_batches(labels)
    known = set(identities[identities >= 0].tolist())
    steps_per_pass = 5  # 37 identities, 8 at a time
    for first in range(0, 20, steps_per_pass):
        seen = [
            identity
            for step in range(first, first + steps_per_pass)
            for identity in identities[sampler.batch(step)[::4]].tolist()
        ]
        assert set(seen[:37]) == known
        assert len(seen) == 40


def test_all_images_of_an_identity_are_drawn_equally_often_in_the_long_run():
    identities = np.repeat([0, 1], 12)
    cameras = np.tile([0, 1, 2], 8)
    sampler = IdentityBatches(
        RowsByIdentity(identities, cameras),
        identities_per_batch=2,
        images_per_identity=4,
        seed=0,
        epoch=0,
    )
    uses = np.bincount(np.concatenate([sampler.batch(step) for step in range(1000)]))
    assert uses / 1000 == pytest.approx(4 / 12, abs=0.06)


def identity_sampler(*, seed: int, epoch: int) -> BatchSampler:
    return IdentityBatches(
        RowsByIdentity(np.arange(100) // 4, np.arange(100) % 3),
        identities_per_batch=4,
        images_per_identity=2,
        seed=seed,
        epoch=epoch,
    )


def shuffled_sampler(*, seed: int, epoch: int) -> BatchSampler:
    return ShuffledBatches(100, batch_size=8, seed=seed, epoch=epoch)


@pytest.mark.parametrize("make_sampler", [identity_sampler, shuffled_sampler])
def test_a_batch_is_the_same_whatever_was_asked_for_before(make_sampler):
    in_order = [make_sampler(seed=1, epoch=2).batch(step).tolist() for step in range(40)]
    sampler = make_sampler(seed=1, epoch=2)
    for step in [37, 3, 3, 20, 0, 39]:
        assert sampler.batch(step).tolist() == in_order[step]
    assert all(one != other for one, other in pairwise(in_order))


@pytest.mark.parametrize("make_sampler", [identity_sampler, shuffled_sampler])
def test_seed_and_epoch_change_the_batches(make_sampler):
    batches = [
        tuple(make_sampler(seed=seed, epoch=epoch).batch(0).tolist())
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    assert len(set(batches)) == 4


def test_too_few_identities_are_refused():
    with pytest.raises(DataError, match=r"1 identities \(in 3 labelled rows of 5\) are too few"):
        IdentityBatches(
            RowsByIdentity(np.array([4, 4, 4, -1, -1]), np.zeros(5, dtype=np.int64)),
            identities_per_batch=2,
            images_per_identity=2,
            seed=0,
            epoch=0,
        )


def test_labels_that_are_all_outliers_are_refused():
    with pytest.raises(DataError, match="0 identities"):
        IdentityBatches(
            RowsByIdentity(np.full(5, -1), np.zeros(5, dtype=np.int64)),
            identities_per_batch=2,
            images_per_identity=2,
            seed=0,
            epoch=0,
        )


def test_labels_of_other_rows_than_the_cameras_are_refused():
    with pytest.raises(DataError, match="don't describe the same rows"):
        RowsByIdentity(np.zeros(5, dtype=np.int64), np.zeros(4, dtype=np.int64))


def test_as_many_identities_as_a_batch_needs_are_enough():
    sampler = IdentityBatches(
        RowsByIdentity(np.array([0, 7]), np.array([1, 1])),
        identities_per_batch=2,
        images_per_identity=2,
        seed=0,
        epoch=0,
    )
    assert sorted(sampler.batch(0).tolist()) == [0, 0, 1, 1]


def test_shuffled_batches_go_through_all_rows_once_a_pass():
    sampler = ShuffledBatches(21, batch_size=8, seed=0, epoch=0)
    for first in (0, 3, 6):
        seen = np.concatenate([sampler.batch(step) for step in range(first, first + 3)])
        assert sorted(seen[:21].tolist()) == list(range(21))
        assert seen[21:].tolist() == seen[:3].tolist()
        assert seen[:21].tolist() != list(range(21))


def test_a_shuffled_batch_larger_than_the_data_repeats_rows():
    rows = ShuffledBatches(3, batch_size=7, seed=0, epoch=0).batch(5)
    assert sorted(Counter(rows.tolist()).values()) == [2, 2, 3]


def test_no_rows_make_no_batches():
    with pytest.raises(DataError, match="without images"):
        ShuffledBatches(0, batch_size=8, seed=0, epoch=0)


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_the_ranks_slices_make_up_the_batch(num_ranks):
    rows = np.arange(100, 132)
    slices = [
        rank_slice(rows, rank=rank, num_ranks=num_ranks, block_size=4) for rank in range(num_ranks)
    ]
    assert np.concatenate(slices).tolist() == rows.tolist()
    assert {len(part) for part in slices} == {32 // num_ranks}


def test_a_batch_that_would_split_an_identity_is_refused():
    with pytest.raises(ConfigError, match="multiple of 16 rows"):
        rank_slice(np.arange(24), rank=0, num_ranks=4, block_size=4)


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_outside_the_ranks_is_refused(rank):
    with pytest.raises(ConfigError, match="count from 0"):
        rank_slice(np.arange(4), rank=rank, num_ranks=2)


def plain_order(num_items: int, *, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, 0)).permutation(num_items)


@pytest.mark.parametrize("identity", [7, 2**62])
def test_batches_match_the_plain_loop(labels, identity):
    identities, cameras = labels[0].copy(), labels[1]
    identities[identities == 30] = identity  # numbers may have gaps of any size
    known = sorted(set(identities[identities >= 0].tolist()))
    sampler = identity_batches((identities, cameras), seed=3, epoch=2)
    order = plain_order(len(known), seed=3, epoch=2)
    for step in range(4):
        expected = []
        for number in order[step * 8 : step * 8 + 8].tolist():
            rows = np.flatnonzero(identities == known[number]).tolist()
            turns = []
            for camera in set(cameras[rows].tolist()):
                of_camera = [row for row in rows if cameras[row] == camera]
                of_camera.sort(key=lambda row: draw_uniform(3, 2, step, row, 0))
                turns += enumerate(of_camera)
            turns.sort(key=lambda turn: (turn[0], draw_uniform(3, 2, step, turn[1], 1)))
            expected += [turns[k % len(turns)][1] for k in range(4)]
        assert sampler.batch(step).tolist() == expected


def test_rows_by_identity_are_sorted_once_for_all_epochs(labels):
    shared = RowsByIdentity(*labels)
    for epoch in range(3):
        sampler = IdentityBatches(
            shared, identities_per_batch=8, images_per_identity=4, seed=0, epoch=epoch
        )
        again = identity_batches(labels, epoch=epoch)
        assert sampler.batch(7).tolist() == again.batch(7).tolist()


def test_a_pass_over_many_rows_sees_each_once():
    num_rows = (1 << 16) + 37
    sampler = ShuffledBatches(num_rows, batch_size=1000, seed=0, epoch=0)
    for first in (0, 66):
        seen = np.concatenate([sampler.batch(step) for step in range(first, first + 66)])
        assert (np.bincount(seen[:num_rows]) == 1).all()
        assert seen[num_rows:].tolist() == seen[: len(seen) - num_rows].tolist()
    assert sampler.batch(0).tolist() != sampler.batch(66).tolist()


def test_a_batch_of_a_million_identities_takes_under_a_millisecond():
    generator = np.random.default_rng(0)
    rows = RowsByIdentity(
        generator.integers(0, 1_000_000, 3_000_000), generator.integers(0, 8, 3_000_000)
    )
    sampler = IdentityBatches(rows, identities_per_batch=16, images_per_identity=4, seed=0, epoch=0)
    steps_per_pass = -(-rows.num_identities // 16)
    for first in (0, steps_per_pass, 50 * steps_per_pass):
        sampler.batch(first)  # draws the order of the pass
        seconds = []
        for step in range(first, first + 20):
            start = time.thread_time()
            sampler.batch(step)
            seconds.append(time.thread_time() - start)
        assert sorted(seconds)[10] < 0.001
