from collections import Counter

import numpy as np
import pytest

from daam.dataset.sampling.samplers import rank_slice
from daam.dataset.sampling.windows import (
    ShardWindows,
    balanced_in_windows,
    uniform_in_windows,
)
from daam.errors import DataError

SIZES = [40, 55, 30, 48, 52, 45, 50]
ENDS = np.cumsum(SIZES).tolist()
SHARDS = tuple(range(end - size, end) for size, end in zip(SIZES, ENDS, strict=True))
NUM_ROWS = ENDS[-1]
IDENTITIES = np.random.default_rng(0).integers(-1, 25, NUM_ROWS)
CAMERAS = np.random.default_rng(1).integers(0, 4, NUM_ROWS)


def windows_of(*, shards_per_window: int = 2, seed: int = 0) -> ShardWindows:
    return ShardWindows(SHARDS, shards_per_window=shards_per_window, batch_size=16, seed=seed)


def balanced(
    identities: np.ndarray = IDENTITIES,
    *,
    first_step: int = 0,
    seed: int = 0,
    or_uniform: bool = False,
):
    return balanced_in_windows(
        identities,
        CAMERAS,
        windows=windows_of(seed=seed),
        first_step=first_step,
        identities_per_batch=4,
        images_per_identity=4,
        seed=seed,
        or_uniform=or_uniform,
    )


@pytest.mark.parametrize("shards_per_window", [1, 2, 3, 7, 100])
def test_a_pass_uses_every_shard_once_and_for_about_as_many_rows_as_it_has(shards_per_window):
    windows = windows_of(shards_per_window=shards_per_window)
    steps_per_pass = -(-NUM_ROWS // 16)
    for first in (0, steps_per_pass):
        at = [windows.at(step) for step in range(first, first + steps_per_pass)]
        of_number = {window.number: window.shards for window in at}
        assert sorted(sum(of_number.values(), ())) == list(range(7))
        assert max(map(len, of_number.values())) <= max(1, shards_per_window)
        for number, count in Counter(window.number for window in at).items():
            assert windows.shards_of(number) == of_number[number]
            rows = sum(SIZES[shard] for shard in of_number[number])
            assert count == pytest.approx(rows / 16, abs=1)
            steps = [window.step for window in at if window.number == number]
            assert steps == list(range(count))
    assert windows.at(0).shards != windows.at(steps_per_pass).shards


def test_batches_are_balanced_and_stay_within_their_window():
    windows, sampler = windows_of(), balanced()
    for step in range(60):
        rows = sampler.batch(step)
        inside = np.concatenate([np.array(SHARDS[shard]) for shard in windows.at(step).shards])
        assert set(rows.tolist()) <= set(inside.tolist())
        of_block = IDENTITIES[rows].reshape(4, 4)
        assert (of_block == of_block[:, :1]).all()
        assert len(set(of_block[:, 0].tolist())) == 4
        assert (of_block >= 0).all()
        assert all((IDENTITIES[inside] == identity).sum() > 1 for identity in of_block[:, 0])


def test_a_batch_is_the_same_whatever_was_asked_for_before_and_wherever_an_epoch_began():
    in_order = [balanced().batch(step).tolist() for step in range(60)]
    sampler, later = balanced(), balanced(first_step=20)
    for step in [37, 3, 3, 59, 0, 40, 21]:
        assert sampler.batch(step).tolist() == in_order[step]
        if step >= 20:
            assert later.batch(step - 20).tolist() == in_order[step]
    assert balanced(seed=1).batch(0).tolist() != in_order[0]


def test_ranks_share_what_one_would_have():
    rows = balanced().batch(30)
    for num_ranks in (2, 4):
        parts = [
            rank_slice(balanced().batch(30), rank=rank, num_ranks=num_ranks, block_size=4)
            for rank in range(num_ranks)
        ]
        assert np.concatenate(parts).tolist() == rows.tolist()


def test_labels_may_change_between_epochs():
    others = np.random.default_rng(5).permutation(IDENTITIES)
    sampler = balanced(others, first_step=10)
    for step in range(20):
        of_block = others[sampler.batch(step)].reshape(4, 4)
        assert (of_block == of_block[:, :1]).all()


def test_whoever_has_one_image_in_a_window_is_drawn_only_for_want_of_others():
    identities = np.arange(NUM_ROWS)  # nobody has two
    assert len(set(balanced(identities).batch(0).tolist())) == 4


def test_a_window_with_too_few_identities_is_refused_at_once():
    with pytest.raises(DataError, match=r"3 identities in the .* raise data\.cache_gb"):
        balanced(np.arange(NUM_ROWS) % 3)


def test_a_window_with_too_few_guessed_identities_is_drawn_from_uniformly():
    windows = windows_of()
    poor = windows.shards_of(0)
    identities = IDENTITIES.copy()
    for shard in poor:
        identities[SHARDS[shard].start : SHARDS[shard].stop] = -1
    for first_step in (0, 20):
        sampler = balanced(identities, first_step=first_step, or_uniform=True)
        assert (sampler.batch_size, sampler.block_size) == (16, 4)
    sampler = balanced(identities, or_uniform=True)
    num_poor = 0
    for step in range(20):
        rows = sampler.batch(step)
        inside = np.concatenate([np.array(SHARDS[shard]) for shard in windows.at(step).shards])
        assert set(rows.tolist()) <= set(inside.tolist())
        if windows.at(step).number == 0:
            num_poor += 1
            assert len(set(rows.tolist())) == 16
        else:
            of_block = identities[rows].reshape(4, 4)
            assert (of_block == of_block[:, :1]).all()
            assert (of_block >= 0).all()
    assert 0 < num_poor < 20


def test_no_shards_make_no_batches():
    with pytest.raises(DataError, match="without images"):
        ShardWindows([], shards_per_window=1, batch_size=4, seed=0)


def test_uniform_batches_go_through_each_window():
    windows = windows_of()
    sampler = uniform_in_windows(windows=windows, first_step=0, batch_size=16, seed=0)
    assert (sampler.batch_size, sampler.block_size) == (16, 1)
    seen = Counter(row for step in range(20) for row in sampler.batch(step).tolist())
    assert len(seen) > 0.85 * NUM_ROWS
    assert max(seen.values()) <= 2


def test_a_step_needs_the_shards_of_its_window_and_of_the_next():
    windows, sampler = windows_of(), balanced(first_step=10)
    for step in range(40):
        number = windows.at(10 + step).number
        assert sampler.shards(step) == windows.shards_of(number) + windows.shards_of(number + 1)
