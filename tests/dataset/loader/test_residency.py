"""Shards that the next batches are made of are resident, others are released."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from daam.dataset.cache import ShardCache
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.loader.batches import iterate_batches
from daam.dataset.loader.ordered import ordered_batches
from daam.dataset.loader.residency import with_shards_resident
from daam.dataset.pixels.augmentation import Augmentation
from daam.dataset.pixels.reader import PixelReader
from daam.dataset.reading.image_table import open_images
from daam.dataset.sampling.samplers import BatchSampler, ShuffledBatches
from daam.dataset.sampling.windows import ShardWindows, uniform_in_windows
from daam.domains import WHOLE_TRAIN_SPLITS
from daam.storage import open_store
from tests.support.images_in_memory import ImagesInMemory, make_images

NUM_SHARDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf(ImagesInMemory):
    """Images in shards of two rows; notes which are resident, and which were fetched."""

    resident: set[int] = field(default_factory=set)
    fetched: list[int] = field(default_factory=list)

    @property
    def shards(self) -> tuple[range, ...]:
        return tuple(range(2 * number, 2 * number + 2) for number in range(NUM_SHARDS))

    def prefetch(self, shard_numbers) -> None:
        numbers = list(shard_numbers)
        assert not self.resident & set(numbers)
        self.resident.update(numbers)
        self.fetched.extend(numbers)

    def release(self, shard_numbers) -> None:
        assert self.resident >= set(shard_numbers)
        self.resident.difference_update(shard_numbers)


@pytest.fixture
def shelf() -> Shelf:
    images = make_images(2 * NUM_SHARDS)
    return Shelf(encoded=images.encoded, cameras=images.cameras)


def shards_of(number: int) -> tuple[int, ...]:
    """Two shards for every three batches, the second of which the next three use too."""
    return (number // 3, number // 3 + 1)


def test_nothing_is_prefetched_before_the_first_batch(shelf: Shelf):
    batches = with_shards_resident((number for number in range(9)), shelf, shards_of=shards_of)
    assert next(batches) == 0
    assert not shelf.resident
    assert next(batches) == 1
    assert shelf.resident == {0, 1}


def test_the_shards_of_each_batch_are_resident_and_each_is_fetched_once(shelf: Shelf):
    batches = with_shards_resident((number for number in range(9)), shelf, shards_of=shards_of)
    next(batches)
    for number in batches:
        assert shelf.resident == set(shards_of(number - 1))
        assert number // 3 in shelf.resident
    assert shelf.fetched == [0, 1, 2, 3]
    assert not shelf.resident


def test_shards_are_released_when_batches_are_closed_or_fail(shelf: Shelf):
    batches = with_shards_resident((number for number in range(9)), shelf, shards_of=shards_of)
    next(batches), next(batches)
    assert shelf.resident
    batches.close()
    assert not shelf.resident
    failing = (1 // (3 - number) for number in range(9))
    with pytest.raises(ZeroDivisionError):
        list(with_shards_resident(failing, shelf, shards_of=shards_of))
    assert not shelf.resident


def test_an_ordered_pass_prefetches_the_shard_of_each_batch_and_the_next(shelf: Shelf):
    reader = PixelReader(shelf, height=16, width=8)
    batches = ordered_batches(reader, batch_size=1, rank=1, num_ranks=2, num_threads=1)
    for number, (rows, _) in enumerate(batches):
        shard = int(rows[0]) // 2
        assert number == 0 or shard in shelf.resident
        assert len(shelf.resident) <= 2
    assert shelf.fetched == [3, 4, 5]
    assert not shelf.resident


def training_batches(reader: PixelReader, sampler: BatchSampler, *, steps: range):
    return iterate_batches(
        reader,
        sampler=sampler,
        steps=steps,
        rank=0,
        num_ranks=1,
        identities=None,
        augmentation=Augmentation(),
        seed=0,
        epoch=0,
        num_threads=2,
    )


def test_batches_of_all_rows_have_every_shard_prefetched(shelf: Shelf):
    reader = PixelReader(shelf, height=16, width=8)
    sampler = ShuffledBatches(reader.num_rows, batch_size=4, seed=0, epoch=0)
    batches = training_batches(reader, sampler, steps=range(3))
    next(batches), next(batches)
    assert shelf.fetched == list(range(NUM_SHARDS))
    batches.close()


def test_batches_from_windows_have_theirs_prefetched_wherever_the_epoch_is_resumed(shelf: Shelf):
    reader = PixelReader(shelf, height=16, width=8)
    windows = ShardWindows(shelf.shards, shards_per_window=2, batch_size=2, seed=0)
    sampler = uniform_in_windows(windows=windows, first_step=0, batch_size=2, seed=0)
    batches = training_batches(reader, sampler, steps=range(3, 8))
    next(batches)
    for step, batch in enumerate(batches, start=4):
        assert shelf.resident == set(sampler.shards(step - 1))
        assert {row // 2 for row in batch.rows.tolist()} <= shelf.resident


def test_windows_and_ordered_passes_read_a_store_with_a_small_cache_correctly(
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
    cache = ShardCache(tmp_path / "cache", capacity_bytes=40_000)
    with open_images(far, cache=cache, **where) as images:
        reader = PixelReader(images, height=64, width=32, keep_decoded_bytes=0)
        windows = ShardWindows(images.shards, shards_per_window=1, batch_size=4, seed=0)
        sampler = uniform_in_windows(windows=windows, first_step=0, batch_size=4, seed=0)
        for batch in training_batches(reader, sampler, steps=range(30)):
            assert torch.equal(batch.images, expected[batch.rows])
        for rows, pixels in ordered_batches(
            reader, batch_size=5, rank=0, num_ranks=1, num_threads=2
        ):
            assert torch.equal(pixels, expected[rows])
    sizes = [path.stat().st_size for path in (tmp_path / "cache" / "shards").iterdir()]
    assert (
        0
        < sum(sizes)
        <= 40_000
        < sum(entry.size_bytes for entry in manifest.shards(WHOLE_TRAIN_SPLITS))
    )
