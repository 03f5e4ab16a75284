"""Training batches of one domain, decoded and augmented in threads ahead of the training step."""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from daam.dataset.loader.residency import with_shards_resident
from daam.dataset.parallel import parallel_fill
from daam.dataset.pixels.augmentation import (
    Augmentation,
    DrawnAugmentation,
    augment_batch,
    augment_each,
    augmentation_keys,
    draw_augmentation,
)
from daam.dataset.pixels.buffers import pixel_memory, to_device
from daam.dataset.pixels.reader import PixelReader, Pixels
from daam.dataset.sampling.samplers import BatchSampler, rank_slice
from daam.errors import DataError

_FEWEST_IMAGES = 8  # that are worth handing to a thread


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainBatch:
    """A rank's images of one step from one domain.

    Attributes:
        images: (B, H, W, 3) uint8, augmented, not normalised; on the device asked for.
        identities: (B,) int64, on the same device, or None for a domain without labels.
        rows: (B,) int64, on the CPU, the images' rows in the domain's table.
    """

    images: Tensor
    identities: Tensor | None
    rows: Tensor


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A batch in progress: its rows, how they are augmented, and the memory of their pixels."""

    rows: np.ndarray
    drawn: DrawnAugmentation | None
    images: Tensor


def iterate_batches(
    reader: Pixels,
    *,
    sampler: BatchSampler,
    steps: range,
    rank: int,
    num_ranks: int,
    identities: np.ndarray | None,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    num_threads: int,
    device: torch.device | None = None,
    prefetch: int = 2,
) -> Generator[DomainBatch, None, None]:
    """Yield this rank's part of each step's global batch.

    All ranks together get the same images with the same augmentation for any number of ranks and
    threads, and steps that are resumed later get the batches they would have had.

    Args:
        reader: the domain's pixels; share one over epochs.
        sampler: the global batches of this epoch.
        steps: the steps of the epoch to make, for example `range(first_step, num_steps)`.
        rank: from 0 to `num_ranks` - 1.
        num_ranks: ranks that share each global batch evenly.
        identities: (N,) integers for all rows of the reader, or None.
        augmentation: how strongly images are augmented.
        seed: with `epoch`, of the random augmentation; give each domain its own.
        epoch: with `seed`, of the random augmentation.
        num_threads: threads that decode, sharing a batch.
        device: transfer and augment images there, in the thread that asks for the batch and without
            waiting for the device; None: the threads that decode augment them, too. The images are
            the same.
        prefetch: finished batches that may wait, besides the one in progress.

    Raises:
        ConfigError: the global batch can't be shared evenly by the ranks, there is no thread, or
            the padding is as large as the image (raised by the call).
        DataError: the identities are not one for each row (raised by the call), or an image cannot
            be decoded (raised in place of its batch).
    """
    if identities is not None and len(identities) != reader.num_rows:
        raise DataError(
            f"{len(identities)} identities don't belong to {reader.num_rows} images; "
            "read both from the same splits of the same domain"
        )
    height, width = reader.height, reader.width
    share = len(  # raises here, not in a thread, if the ranks don't fit
        rank_slice(
            np.arange(sampler.batch_size),
            rank=rank,
            num_ranks=num_ranks,
            block_size=sampler.block_size,
        )
    )
    draw_augmentation(augmentation, keys=np.empty(0, np.uint64), height=height, width=width)
    is_augmented = augmentation != Augmentation()
    on_cpu = isinstance(reader, PixelReader)
    if device is None and not on_cpu:
        device = reader.device
    to_gpu = device is not None and device.type == "cuda"
    shape = (share if on_cpu else 0, height, width, 3)
    num_parts = min(num_threads, -(-share // _FEWEST_IMAGES)) if on_cpu else 1

    def begin(step: int) -> _Draft:
        global_rows = sampler.batch(step)
        global_keys = augmentation_keys(global_rows, seed=seed, epoch=epoch, step=step)
        rows, keys = (
            rank_slice(part, rank=rank, num_ranks=num_ranks, block_size=sampler.block_size)
            for part in (global_rows, global_keys)
        )
        return _Draft(
            rows=rows,
            drawn=draw_augmentation(augmentation, keys=keys, height=height, width=width)
            if is_augmented
            else None,
            images=pixel_memory(shape, pinned=to_gpu),
        )

    def fill(draft: _Draft, part: int) -> None:
        if not isinstance(reader, PixelReader):
            draft.images = reader.read(draft.rows)
            return
        images = slice(share * part // num_parts, share * (part + 1) // num_parts)
        rows, output = draft.rows[images], draft.images[images].numpy()
        reader.read_into(output, rows)
        if device is None and draft.drawn is not None:
            augment_each(output, draft.drawn.part(images))

    def finish(draft: _Draft) -> DomainBatch:
        rows, images = draft.rows, draft.images
        own = None if identities is None else _int64(identities[rows])
        if device is not None:
            images = to_device(images, device)
            if draft.drawn is not None:
                images = augment_batch(images, draft.drawn.to_device(device))
            own = None if own is None else to_device(own, device)
        return DomainBatch(images=images, identities=own, rows=_int64(rows))

    drafts = parallel_fill(
        begin, fill, steps, num_parts=num_parts, num_threads=num_threads, prefetch=prefetch
    )
    every_shard = tuple(range(len(reader.source.shards)))
    return with_shards_resident(
        _finished(drafts, finish),
        reader.source,
        shards_of=lambda number: sampler.shards(steps[number]) or every_shard,
    )


def _finished(
    drafts: Generator[_Draft, None, None], finish: Callable[[_Draft], DomainBatch]
) -> Generator[DomainBatch, None, None]:
    with contextlib.closing(drafts):
        for draft in drafts:
            yield finish(draft)


def _int64(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))
