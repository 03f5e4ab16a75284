"""Training batches of one domain, decoded and augmented in threads ahead of the training step."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from daam.data.ahead import work_ahead
from daam.data.decode import PixelReader
from daam.data.sampling import BatchSampler, rank_slice
from daam.data.transforms import Augmentation, augment, augmentation_keys
from daam.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainBatch:
    """A rank's images of one step from one domain.

    Attributes:
        images: (B, H, W, 3) uint8, augmented, not normalised.
        identities: (B,) int64, or None for a domain without labels.
        cameras: (B,) int64.
        rows: (B,) int64, the images' rows in the domain's table.
    """

    images: Tensor
    identities: Tensor | None
    cameras: Tensor
    rows: Tensor


def iterate_batches(
    reader: PixelReader,
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
    prefetch: int = 2,
) -> Generator[DomainBatch, None, None]:
    """Yield this rank's part of each step's global batch.

    All ranks together get the same images with the same augmentation for any number of ranks and
    threads, and a range of steps that begins later goes on with just what it would have been.

    Args:
        reader: the domain's pixels; share one over epochs.
        sampler: the global batches of this epoch.
        steps: the steps of the epoch to make, for example `range(first_step, num_steps)`.
        rank: from 0 to `num_ranks` - 1.
        num_ranks: ranks that share each global batch evenly.
        identities: (N,) integers for all rows of the reader, or None.
        augmentation: how strongly images are varied.
        seed: with `epoch`, which random augmentation; give each domain its own.
        epoch: with `seed`, which random augmentation.
        num_threads: threads that make batches, each a whole one at a time.
        prefetch: finished batches that may wait, besides one in work in each thread.

    Raises:
        ConfigError: the global batch can't be shared evenly by the ranks, or there is no thread
            (raised by the call).
        DataError: the identities are not one for each row (raised by the call), or an image cannot
            be decoded (raised in place of its batch).
    """
    if identities is not None and len(identities) != reader.num_rows:
        raise DataError(
            f"{len(identities)} identities don't belong to {reader.num_rows} images; "
            "read both from the same splits of the same domain"
        )
    rank_slice(  # raises now, not in a thread, if the ranks don't fit
        np.arange(sampler.batch_size),
        rank=rank,
        num_ranks=num_ranks,
        block_size=sampler.block_size,
    )

    def make_batch(step: int) -> DomainBatch:
        global_rows = sampler.batch(step)
        global_keys = augmentation_keys(global_rows, seed=seed, epoch=epoch, step=step)
        rows, keys = (
            rank_slice(part, rank=rank, num_ranks=num_ranks, block_size=sampler.block_size)
            for part in (global_rows, global_keys)
        )
        return DomainBatch(
            images=augment(reader.read(rows), augmentation=augmentation, keys=keys),
            identities=None if identities is None else _int64(identities[rows]),
            cameras=_int64(reader.cameras[rows]),
            rows=_int64(rows),
        )

    return work_ahead(make_batch, steps, num_threads=num_threads, prefetch=prefetch)


def _int64(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))
