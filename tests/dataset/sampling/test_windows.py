from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from daam.dataset.cache import ShardCache
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.loader.batches import iterate_batches
from daam.dataset.loader.ordered import ordered_batches
from daam.dataset.pixels.augmentation import Augmentation
from daam.dataset.pixels.decode import PixelReader
from daam.dataset.reading.image_table import open_images
from daam.dataset.sampling.samplers import rank_slice
from daam.dataset.sampling.windows import (
    ShardedImages,
    ShardWindows,
    balanced_in_windows,
    uniform_in_windows,
    with_rows_at_hand,
    with_windows_at_hand,
)
from daam.domains import WHOLE_TRAIN_SPLITS
from daam.errors import DataError
from daam.storage import open_store

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


class Shelf:
    """Notes which shards are at hand."""

    def __init__(self) -> None:
        self.shards = SHARDS
        self.size_bytes = 10 * NUM_ROWS
        self.fits_cache = False
        self.at_hand: set[int] = set()
        self.num_fetched = 0

    def prefetch(self, shard_numbers) -> None:
        fetched = list(shard_numbers)
        assert not self.at_hand & set(fetched)
        self.at_hand |= set(fetched)
        self.num_fetched += len(fetched)

    def release(self, shard_numbers) -> None:
        assert self.at_hand >= set(shard_numbers)
        self.at_hand -= set(shard_numbers)


def test_a_steps_window_and_the_next_are_at_hand_and_no_others():
    windows, shelf = windows_of(), Shelf()
    batches = with_windows_at_hand(
        (step for step in range(10, 80)), shelf, windows=windows, first_step=10
    )
    for step in batches:
        number = windows.at(step).number
        assert shelf.at_hand == {*windows.shards_of(number), *windows.shards_of(number + 1)}
    assert not shelf.at_hand


def test_shards_are_let_go_when_batches_are_closed_or_fail():
    windows, shelf = windows_of(), Shelf()
    with_steps = {"windows": windows, "first_step": 0}
    batches = with_windows_at_hand((step for step in range(80)), shelf, **with_steps)
    next(batches)
    assert shelf.at_hand
    batches.close()
    assert not shelf.at_hand
    failing = with_windows_at_hand((1 // (3 - step) for step in range(80)), shelf, **with_steps)
    with pytest.raises(ZeroDivisionError):
        list(failing)
    assert not shelf.at_hand


def test_an_ordered_pass_has_its_shard_and_the_next_at_hand_and_fetches_each_once():
    shelf = Shelf()
    first = 60
    made = ((np.arange(row, min(row + 8, NUM_ROWS)), None) for row in range(first, NUM_ROWS, 8))
    for rows, _ in with_rows_at_hand(made, shelf, first_row=first):
        shard = int(np.searchsorted(ENDS, rows[0], side="right"))
        assert shelf.at_hand == {shard, min(shard + 1, 6)}
    assert shelf.num_fetched == 6
    assert not shelf.at_hand


def test_windows_and_ordered_passes_read_a_store_right_with_a_small_cache(
    small_market: Path, s3_uri: str, tmp_path: Path
):
    far, near = open_store(s3_uri), open_store(str(tmp_path / "near"))
    index = read_layout("market1501", small_market)
    for store in (far, near):
        manifest = import_domain(index, domain="plaza", to=store, shard_size_bytes=6_000)
    where = {"manifest": manifest, "splits": WHOLE_TRAIN_SPLITS}
    expected = PixelReader(
        open_images(near, cache=ShardCache(tmp_path / "other"), **where), height=64, width=32
    ).read(np.arange(48))
    capacity_bytes = 40_000
    cache = ShardCache(tmp_path / "cache", capacity_bytes=capacity_bytes)
    with open_images(far, cache=cache, **where) as images:
        assert images.size_bytes > capacity_bytes
        assert isinstance(images, ShardedImages)
        reader = PixelReader(images, height=64, width=32, keep_decoded_bytes=0)
        windows = ShardWindows(images.shards, shards_per_window=1, batch_size=4, seed=0)
        batches = iterate_batches(
            reader,
            sampler=uniform_in_windows(windows=windows, first_step=0, batch_size=4, seed=0),
            steps=range(30),
            rank=0,
            num_ranks=1,
            identities=None,
            augmentation=Augmentation(),
            seed=0,
            epoch=0,
            num_threads=2,
        )
        for batch in with_windows_at_hand(batches, images, windows=windows, first_step=0):
            assert torch.equal(batch.images, expected[batch.rows])
        for rows, pixels in ordered_batches(
            reader, batch_size=5, rank=0, num_ranks=1, num_threads=2
        ):
            assert torch.equal(pixels, expected[rows])
