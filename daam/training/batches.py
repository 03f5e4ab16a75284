"""The batches of an epoch: the sampler of each domain, and this rank's share."""

from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing
from itertools import repeat

import numpy as np

from daam.dataset.loader.batches import DomainBatch, iterate_batches
from daam.dataset.pixels.reader import Pixels
from daam.dataset.sampling.samplers import (
    BatchSampler,
    IdentityBatches,
    RowsByIdentity,
    ShuffledBatches,
)
from daam.dataset.sampling.windows import (
    balanced_in_windows,
    uniform_in_windows,
)
from daam.training import collectives
from daam.training.relabel import EpochExemplars, EpochGroups
from daam.training.setup.assemble import Run


def epoch_batches(
    run: Run, *, epoch: int, labels: EpochGroups | EpochExemplars | None, need_target: bool
) -> Generator[tuple[DomainBatch, DomainBatch | None], None, None]:
    """Yield the batches of an epoch's steps: source and, where a loss needs it, target."""
    steps = range(run.config.optimiser.steps_per_epoch)
    with ExitStack() as stack:
        sources = stack.enter_context(closing(source_batches(run, epoch=epoch, steps=steps)))
        targets: Iterable[DomainBatch | None] = repeat(None)
        if need_target:
            targets = stack.enter_context(
                closing(target_batches(run, epoch=epoch, steps=steps, labels=labels))
            )
        for _, source, target in zip(steps, sources, targets, strict=False):
            yield source, target


def source_batches(run: Run, *, epoch: int, steps: range) -> Generator[DomainBatch, None, None]:
    """Identity-balanced batches of the source, this rank's share."""
    data, seed = run.config.data, 2 * run.config.seed
    balance = {
        "identities_per_batch": data.identities_per_batch,
        "images_per_identity": data.images_per_identity,
        "seed": seed,
    }
    if run.windows.source is None:
        sampler: BatchSampler = IdentityBatches(run.source.by_identity, epoch=epoch, **balance)
    else:
        sampler = balanced_in_windows(
            run.source.identities,
            run.source.cameras,
            windows=run.windows.source,
            first_step=_steps_before(run, epoch),
            or_uniform=False,
            **balance,
        )
    return _batches(
        run,
        run.source.reader,
        sampler=sampler,
        identities=run.source.identities,
        seed=seed,
        epoch=epoch,
        steps=steps,
    )


def target_batches(
    run: Run, *, epoch: int, steps: range, labels: EpochGroups | EpochExemplars | None
) -> Generator[DomainBatch, None, None]:
    """Batches of the target, this rank's share: group-balanced, or uniform without enough groups.

    With windows, each window decides that by its own groups. The batches carry no identities: none
    were read.
    """
    data, seed, windows = run.config.data, 2 * run.config.seed + 1, run.windows.target
    num_groups = data.target_batch_size // data.images_per_identity
    balance = {
        "identities_per_batch": num_groups,
        "images_per_identity": data.images_per_identity,
        "seed": seed,
    }
    grouped = isinstance(labels, EpochGroups) and labels.num_groups >= num_groups
    groups_N = labels.groups_N if isinstance(labels, EpochGroups) and grouped else None
    cameras, num_rows = run.target.cameras, run.target.reader.num_rows
    sampler: BatchSampler
    if windows is not None:
        first_step = _steps_before(run, epoch)
        if groups_N is None:
            sampler = uniform_in_windows(
                windows=windows,
                first_step=first_step,
                batch_size=data.target_batch_size,
                seed=seed,
            )
        else:
            sampler = balanced_in_windows(
                groups_N,
                cameras,
                windows=windows,
                first_step=first_step,
                or_uniform=True,
                **balance,
            )
    elif groups_N is None:
        sampler = ShuffledBatches(
            num_rows, batch_size=data.target_batch_size, seed=seed, epoch=epoch
        )
    else:
        sampler = IdentityBatches(RowsByIdentity(groups_N, cameras), epoch=epoch, **balance)
    return _batches(
        run,
        run.target.reader,
        sampler=sampler,
        identities=None,
        seed=seed,
        epoch=epoch,
        steps=steps,
    )


def _batches(
    run: Run,
    reader: Pixels,
    *,
    sampler: BatchSampler,
    identities: np.ndarray | None,
    seed: int,
    epoch: int,
    steps: range,
) -> Generator[DomainBatch, None, None]:
    return iterate_batches(
        reader,
        sampler=sampler,
        steps=steps,
        rank=collectives.rank(),
        num_ranks=collectives.num_ranks(),
        identities=identities,
        augmentation=run.augmentation,
        seed=seed,
        epoch=epoch,
        num_threads=run.config.data.num_threads,
        device=run.compute.augments_on,
    )


def _steps_before(run: Run, epoch: int) -> int:
    return epoch * run.config.optimiser.steps_per_epoch
