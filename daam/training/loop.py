"""The training loop: epochs of steps, a report after each."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from daam.errors import NonFiniteLossError
from daam.model.norm import copy_source_norms_to_target
from daam.training import collectives
from daam.training.adaptation import adaptation_warnings
from daam.training.batches import epoch_batches
from daam.training.objective import Weights
from daam.training.relabel import EpochExemplars, EpochGroups, relabel
from daam.training.schedule import learning_rate_at, teacher_momentum_at, weights_at
from daam.training.scoring.inspection import inspect
from daam.training.setup.assemble import Run
from daam.training.step import StepResult, train_step


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """An epoch's losses, averaged over its steps and ranks, and its label-free diagnostics."""

    epoch: int
    num_epochs: int
    seconds: float
    seconds_of: dict[str, float]
    """Of these, the seconds spent on the target's `labels`, on `steps` and on `diagnostics`; and of
    the steps' seconds, those that they spent on a `wait` for their batches."""
    losses: dict[str, float]
    diagnostics: dict[str, float]
    label_free: dict[str, float]
    """Scores of the network that the pseudo-labels were made with, see `EpochGroups`."""
    warnings: list[str]
    """Signs that the adaptation is not working, a sentence each."""
    notes: list[str]
    """What was decided from the data, a sentence each, in the first epoch with pseudo-labels."""

    def as_metrics(self) -> dict[str, Any]:
        """Return a flat table: `epoch`, `num_epochs`, `seconds`, `loss/NAME` and so on.

        Values are numbers, except for `warnings` and `notes`: lists of text, present where there
        are any.
        """
        return {
            "epoch": self.epoch,
            "num_epochs": self.num_epochs,
            "seconds": self.seconds,
            **{f"seconds/{name}": value for name, value in self.seconds_of.items()},
            **{f"loss/{name}": value for name, value in self.losses.items()},
            **{f"diagnostic/{name}": value for name, value in self.diagnostics.items()},
            **{f"label_free/{name}": value for name, value in self.label_free.items()},
            **({"warnings": self.warnings} if self.warnings else {}),
            **({"notes": self.notes} if self.notes else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """How far training is.

    Attributes:
        epoch: counted from 1.
        num_epochs: of the run.
        step: the step that was just done, from 1; 0 before the epoch's pseudo-labels are made.
        num_steps: per epoch.
        num_images: of both domains in the step, on this worker.
    """

    epoch: int
    num_epochs: int
    step: int
    num_steps: int
    num_images: int


OnStep = Callable[[StepProgress], None]
Batch = TypeVar("Batch")


def fit(run: Run, *, on_step: OnStep | None = None) -> Generator[EpochReport, None, None]:
    """Train from where the run is to its last epoch; yield a report after each epoch.

    At a yield the run is at the end of an epoch: `daam.training.state.state_dict` may be taken, and
    the network may be used but not changed. Where a process group exists all ranks must iterate.

    Args:
        run: changed.
        on_step: called at the start of each epoch and after each step, which a GPU may not have
            finished yet.

    Raises:
        NonFiniteLossError: a loss term became NaN or infinite; the message names it.
        TrainingError: the network's features did.
    """
    network = data_parallel(run)
    num_epochs = run.config.num_epochs
    for epoch in range(run.num_epochs_done, num_epochs):
        seconds: dict[str, float] = {}
        weights = weights_at(run.config, epoch=epoch)
        if on_step is not None:
            on_step(progress_of(run, epoch=epoch, step=0, num_images=0))
        with timed(seconds, "labels"):
            labels = relabel(run, epoch=epoch) if weights.target > 0 else None
        with timed(seconds, "steps"):
            losses, gradients, wait_s = train_epoch(
                run, network, epoch=epoch, weights=weights, labels=labels, on_step=on_step
            )
            sync_buffers(run)
            if not weights.need_target:
                copy_source_norms(run)
            run.num_epochs_done = epoch + 1
        with timed(seconds, "diagnostics"):
            diagnostics = inspect(run) | gradients
            warnings: list[str] = []
            notes: list[str] = []
            if labels is not None:
                diagnostics |= labels.as_diagnostics()
                warnings = adaptation_warnings(
                    labels,
                    cameras_N=run.target.cameras,
                    target_loss=losses["target"],
                    settings=run.config.loss.target,
                )
                if epoch == run.config.loss.warmup_epochs and isinstance(labels, EpochGroups):
                    notes = list(run.grouping.reasons)
        yield EpochReport(
            epoch=epoch + 1,
            num_epochs=num_epochs,
            seconds=sum(seconds.values()),
            seconds_of=seconds | {"wait": wait_s},
            losses=losses,
            diagnostics=diagnostics,
            label_free={} if labels is None else labels.as_label_free(),
            warnings=warnings,
            notes=notes,
        )


def train_epoch(
    run: Run,
    network: nn.Module,
    *,
    epoch: int,
    weights: Weights,
    labels: EpochGroups | EpochExemplars | None,
    on_step: OnStep | None,
) -> tuple[dict[str, float], dict[str, float], float]:
    """Run the steps of an epoch.

    Returns:
        Each loss averaged over steps and ranks; `gradient_TERM` of the last step, averaged over
        ranks; and the seconds that this rank waited for batches.
    """
    network.train()
    num_steps = run.config.optimiser.steps_per_epoch
    results: list[StepResult] = []
    batches = epoch_batches(run, epoch=epoch, labels=labels, need_target=weights.need_target)
    waits: list[float] = []
    with contextlib.closing(batches):
        for step, (source, target) in enumerate(waited_for(batches, waits)):
            result = train_step(
                run,
                network,
                source=source,
                target=target,
                labels=labels.of_rows(target.rows, run) if labels and target else None,
                weights=weights,
                learning_rate=learning_rate_at(run.config, step=epoch * num_steps + step),
                teacher_momentum=teacher_momentum_at(run.config, step=epoch * num_steps + step),
                with_gradients=step == num_steps - 1,
            )
            results.append(result)
            if on_step is not None:
                num_images = len(source.images) + (0 if target is None else len(target.images))
                on_step(progress_of(run, epoch=epoch, step=step + 1, num_images=num_images))
    losses = averaged([result.losses for result in results], epoch=epoch)
    return losses, gradients_over_ranks(results[-1].gradients), sum(waits)


def waited_for(batches: Iterable[Batch], waits: list[float]) -> Iterator[Batch]:
    """Pass batches on; add to the list the seconds that the receiver waited for each."""
    begin = time.perf_counter()
    for batch in batches:
        waits.append(time.perf_counter() - begin)
        yield batch
        begin = time.perf_counter()


def progress_of(run: Run, *, epoch: int, step: int, num_images: int) -> StepProgress:
    """Return how far a run is; epochs are counted from 0 here, as everywhere but in reports."""
    return StepProgress(
        epoch=epoch + 1,
        num_epochs=run.config.num_epochs,
        step=step,
        num_steps=run.config.optimiser.steps_per_epoch,
        num_images=num_images,
    )


def data_parallel(run: Run) -> nn.Module:
    """Wrap the network for data parallelism where there is a process group."""
    if collectives.num_ranks() == 1:
        return run.network
    devices = [run.compute.device] if run.compute.device.type == "cuda" else None
    return DistributedDataParallel(
        run.network, device_ids=devices, process_group=collectives.group()
    )


def sync_buffers(run: Run) -> None:
    """Give all ranks the batch-norm statistics of rank 0: each saw its own images."""
    for network in run.networks:
        collectives.overwrite_with_rank_zero(network.buffers())


def copy_source_norms(run: Run) -> None:
    """Start the target's batch norms from the source's, while no target image has been seen."""
    for network in run.networks:
        copy_source_norms_to_target(network)


@contextlib.contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Measure a block into a table, in seconds."""
    begin = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begin


def averaged(history: list[dict[str, Tensor]], *, epoch: int) -> dict[str, float]:
    """Average each term over steps and ranks, with one copy from the device.

    Raises:
        NonFiniteLossError: on every rank, as the values are averaged over ranks first.
    """
    names = list(history[0])
    values = torch.stack([torch.stack([step[name] for name in names]) for step in history])
    values = collectives.mean_over_ranks(values).cpu()
    broken = (~values.isfinite()).nonzero()
    if len(broken):
        step, term = broken[0].tolist()
        terms = [
            names[at] for first, at in broken.tolist() if first == step and names[at] != "total"
        ]
        raise NonFiniteLossError(
            f"the loss {' and '.join(terms) or names[term]} became {values[step, term].item()} in "
            f"epoch {epoch + 1}, step {step + 1}; lower optimiser.learning_rate or that loss's "
            "weight, and resume from the last checkpoint"
        )
    return dict(zip(names, values.mean(dim=0).tolist(), strict=True))


def gradients_over_ranks(gradients: dict[str, Tensor]) -> dict[str, float]:
    """Average each norm over ranks, with one copy from the device."""
    values = collectives.mean_over_ranks(torch.stack(list(gradients.values()))).tolist()
    return {f"gradient_{name}": value for name, value in zip(gradients, values, strict=True)}
