import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from daam.dataset.loader.batches import DomainBatch, iterate_batches
from daam.dataset.pixels.augmentation import Augmentation
from daam.dataset.pixels.decode import decode_images
from daam.dataset.pixels.device_decode import DevicePixels
from daam.dataset.pixels.reader import PixelReader, Pixels
from daam.dataset.sampling.samplers import (
    BatchSampler,
    IdentityBatches,
    RowsByIdentity,
    ShuffledBatches,
)
from daam.errors import ConfigError, DataError
from tests.support.images_in_memory import ImagesInMemory, make_images

ROOT = Path(__file__).parents[3]
NUM_ROWS = 48
IDENTITIES = np.arange(NUM_ROWS) // 5
EVERYTHING = Augmentation(flip=0.5, pad=2, erase=0.5, brightness=0.2, contrast=0.2, saturation=0.2)


@pytest.fixture(scope="module")
def images() -> ImagesInMemory:
    return make_images(NUM_ROWS)


@pytest.fixture
def reader(images) -> PixelReader:
    return PixelReader(images, height=16, width=8)


def balanced(*, epoch: int = 0) -> IdentityBatches:
    return IdentityBatches(
        RowsByIdentity(IDENTITIES, np.arange(NUM_ROWS) % 3),
        identities_per_batch=4,
        images_per_identity=4,
        seed=0,
        epoch=epoch,
    )


def batches(
    reader: Pixels,
    *,
    sampler: BatchSampler | None = None,
    steps: range = range(6),
    rank: int = 0,
    num_ranks: int = 1,
    identities: np.ndarray | None = IDENTITIES,
    augmentation: Augmentation = EVERYTHING,
    epoch: int = 0,
    num_threads: int = 2,
    device: torch.device | None = None,
):
    return iterate_batches(
        reader,
        sampler=sampler or balanced(epoch=epoch),
        steps=steps,
        rank=rank,
        num_ranks=num_ranks,
        identities=identities,
        augmentation=augmentation,
        seed=0,
        epoch=epoch,
        num_threads=num_threads,
        device=device,
    )


def same(one: DomainBatch, other: DomainBatch) -> bool:
    assert one.identities is not None
    assert other.identities is not None
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.identities, other.identities)
        and torch.equal(one.rows, other.rows)
    )


def joined(parts: list[DomainBatch]) -> DomainBatch:
    return DomainBatch(
        images=torch.cat([part.images for part in parts]),
        identities=torch.cat([part.identities for part in parts if part.identities is not None]),
        rows=torch.cat([part.rows for part in parts]),
    )


def test_a_batch_holds_what_belongs_to_its_rows(images, reader):
    pixels = decode_images(images.encoded, height=16, width=8)
    sampler = balanced()
    made = list(batches(reader, sampler=sampler, augmentation=Augmentation()))
    assert len(made) == 6
    for step, batch in enumerate(made):
        rows = sampler.batch(step)
        assert batch.rows.tolist() == rows.tolist()
        assert batch.identities is not None
        assert batch.identities.tolist() == IDENTITIES[rows].tolist()
        assert torch.equal(batch.images, pixels[rows])
        assert batch.images.dtype == torch.uint8
        assert {batch.rows.dtype, batch.identities.dtype} == {torch.int64}


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_the_global_batch_does_not_depend_on_the_number_of_ranks(images, reader, num_ranks):
    whole = list(batches(reader))
    of_ranks = [
        list(batches(PixelReader(images, height=16, width=8), rank=rank, num_ranks=num_ranks))
        for rank in range(num_ranks)
    ]
    for step, batch in enumerate(whole):
        assert same(joined([of_rank[step] for of_rank in of_ranks]), batch)


@pytest.mark.parametrize("num_threads", [1, 3, 8])
@pytest.mark.parametrize("keep_decoded_bytes", [0, 2**20])
def test_batches_do_not_depend_on_threads_or_on_what_is_kept(
    images, reader, num_threads, keep_decoded_bytes
):
    other = PixelReader(images, height=16, width=8, keep_decoded_bytes=keep_decoded_bytes)
    pairs = zip(
        batches(reader, num_threads=2), batches(other, num_threads=num_threads), strict=True
    )
    assert all(same(one, another) for one, another in pairs)


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
@pytest.mark.parametrize(("rank", "num_ranks"), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("decoded", ["once", "each time", "there"])
def test_images_varied_on_the_device_are_those_varied_in_the_threads(
    images, reader, rank, num_ranks, decoded
):
    device = torch.device("cpu")
    others: dict[str, Pixels] = {
        "once": reader,
        "each time": PixelReader(images, height=16, width=8, keep_decoded_bytes=0),
        "there": DevicePixels(images, height=16, width=8, device=device),
    }
    pairs = zip(
        batches(reader, rank=rank, num_ranks=num_ranks),
        batches(others[decoded], rank=rank, num_ranks=num_ranks, device=device),
        strict=True,
    )
    assert all(same(one, another) for one, another in pairs)


def test_images_decoded_on_a_device_stay_there(images):
    there = DevicePixels(images, height=16, width=8, device=torch.device("meta"))
    assert there.read(np.empty(0, dtype=np.int64)).device.type == "meta"


def test_padding_as_large_as_the_images_is_refused_at_once(reader):
    with pytest.raises(ConfigError, match="16x8 pixels"):
        batches(reader, augmentation=Augmentation(pad=8))


def test_resuming_within_an_epoch_goes_on_as_if_nothing_had_happened(images, reader):
    whole = list(batches(reader))
    resumed = batches(PixelReader(images, height=16, width=8), steps=range(4, 6))
    assert all(same(one, other) for one, other in zip(whole[4:], resumed, strict=True))


def test_another_epoch_varies_the_same_rows_otherwise(reader):
    first, second = (
        next(batches(reader, sampler=balanced(), epoch=epoch, steps=range(1))) for epoch in (0, 1)
    )
    assert torch.equal(first.rows, second.rows)
    assert not torch.equal(first.images, second.images)


def test_a_domain_without_labels_has_batches_without_identities(reader):
    sampler = ShuffledBatches(NUM_ROWS, batch_size=16, seed=0, epoch=0)
    made = list(batches(reader, sampler=sampler, identities=None, steps=range(3)))
    assert all(batch.identities is None for batch in made)
    assert sorted(torch.cat([batch.rows for batch in made]).tolist()) == list(range(NUM_ROWS))


def test_closing_early_ends_the_threads(reader):
    before = threading.active_count()
    made = batches(reader, steps=range(10_000))
    assert len(list(islice(made, 3))) == 3
    assert threading.active_count() > before
    made.close()
    assert threading.active_count() == before


def test_a_damaged_image_is_reported_to_whoever_asks_for_its_batch(images):
    row = int(balanced().batch(2)[0])
    jpegs = list(images.encoded)
    jpegs[row] = jpegs[row][:300]
    damaged = ImagesInMemory(encoded=tuple(jpegs), cameras=images.cameras)
    before = threading.active_count()
    with pytest.raises(DataError, match=f"row {row} "):
        list(batches(PixelReader(damaged, height=16, width=8)))
    assert threading.active_count() == before


@pytest.mark.parametrize("num_ranks", [3, 8])
def test_ranks_that_would_split_an_identity_are_refused_at_once(reader, num_ranks):
    with pytest.raises(ConfigError, match="can't be shared evenly"):
        batches(reader, num_ranks=num_ranks)


def test_identities_of_other_rows_are_refused_at_once(reader):
    with pytest.raises(DataError, match="47 identities don't belong to 48 images"):
        batches(reader, identities=IDENTITIES[1:])


def test_batches_left_alone_end_with_the_interpreter_and_nothing_is_said() -> None:
    code = """
from daam.dataset.pixels.reader import PixelReader
from tests.support.images_in_memory import make_images
from tests.dataset.loader.test_batches import NUM_ROWS, batches
def images():
    reader = PixelReader(make_images(NUM_ROWS), height=16, width=8)
    return (batch.images for batch in batches(reader))
left = images()
next(left)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
