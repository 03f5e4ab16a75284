"""The story of a run: epochs of steps, a report after each."""

import contextlib
import itertools
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from daam.dataset.loader.batches import DomainBatch
from daam.errors import NonFiniteLossError
from daam.model.norm import begin_target_as_source
from daam.training import collectives
from daam.training.batches import source_batches, target_batches
from daam.training.relabel import EpochExemplars, EpochGroups, relabel
from daam.training.schedule import learning_rate_at, teacher_momentum_at, weights_at
from daam.training.scoring.inspection import inspect
from daam.training.setup.assemble import Run
from daam.training.step import train_step


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What an epoch did: losses averaged over its steps and ranks, and label-free diagnostics."""

    epoch: int
    num_epochs: int
    seconds: float
    seconds_of: dict[str, float]
    """What of it went into `labels` of the target, `steps` and `diagnostics`."""
    losses: dict[str, float]
    diagnostics: dict[str, float]

    def as_metrics(self) -> dict[str, float]:
        """Return a flat table: `epoch`, `num_epochs`, `seconds`, `loss/NAME` and so on."""
        return {
            "epoch": self.epoch,
            "num_epochs": self.num_epochs,
            "seconds": self.seconds,
            **{f"seconds/{name}": value for name, value in self.seconds_of.items()},
            **{f"loss/{name}": value for name, value in self.losses.items()},
            **{f"diagnostic/{name}": value for name, value in self.diagnostics.items()},
        }


def fit(run: Run) -> Generator[EpochReport, None, None]:
    """Train from where the run is to its last epoch; yield a report after each epoch.

    At a yield the run is at the end of an epoch: `daam.training.state.captured` may be taken, and
    the network may be used but not changed. Where a process group exists all ranks must iterate.

    Raises:
        NonFiniteLossError: a loss term became NaN or infinite; the message names it.
        TrainingError: the network's features did.
    """
    network = parallel(run)
    for epoch in range(run.num_epochs_done, run.config.optimiser.num_epochs):
        begin = time.perf_counter()
        weights = weights_at(run.config, epoch=epoch)
        labels = relabel(run, epoch=epoch) if weights.target > 0 else None
        labelled = time.perf_counter()
        losses, gradients = train_epoch(run, network, epoch=epoch, labels=labels)
        settle(run, saw_target=weights.need_target)
        run.num_epochs_done = epoch + 1
        trained = time.perf_counter()
        diagnostics = inspect(run) | gradients
        if labels is not None:
            diagnostics |= labels.as_diagnostics()
        end = time.perf_counter()
        yield EpochReport(
            epoch=epoch + 1,
            num_epochs=run.config.optimiser.num_epochs,
            seconds=end - begin,
            seconds_of={
                "labels": labelled - begin,
                "steps": trained - labelled,
                "diagnostics": end - trained,
            },
            losses=losses,
            diagnostics=diagnostics,
        )


def parallel(run: Run) -> nn.Module:
    """Wrap the network for data parallelism where there is a process group."""
    if collectives.num_ranks() == 1:
        return run.network
    devices = [run.compute.device] if run.compute.device.type == "cuda" else None
    return DistributedDataParallel(run.network, device_ids=devices)


def settle(run: Run, *, saw_target: bool) -> None:
    """Bring network and teacher into the state in which they are tested and saved."""
    # Batch norms of each rank saw its own images; what is embedded together must agree.
    collectives.overwrite_with_rank_zero(run.network.buffers())
    if run.teacher is not None:
        collectives.overwrite_with_rank_zero(run.teacher.buffers())
    if not saw_target:
        begin_target_as_source(run.network)
        if run.teacher is not None:
            begin_target_as_source(run.teacher)


def train_epoch(
    run: Run, network: nn.Module, *, epoch: int, labels: EpochGroups | EpochExemplars | None
) -> tuple[dict[str, float], dict[str, float]]:
    """Run the steps of an epoch.

    Returns:
        Each loss averaged over steps and ranks, and `gradient_TERM` of the last step, averaged over
        ranks.
    """
    network.train()
    weights = weights_at(run.config, epoch=epoch)
    num_steps = run.config.optimiser.steps_per_epoch
    steps = range(num_steps)
    with contextlib.ExitStack() as stack:
        sources = stack.enter_context(
            contextlib.closing(source_batches(run, epoch=epoch, steps=steps))
        )
        targets: Iterator[DomainBatch | None] = itertools.repeat(None)
        if weights.need_target:
            targets = stack.enter_context(
                contextlib.closing(target_batches(run, epoch=epoch, steps=steps, labels=labels))
            )
        results = [
            train_step(
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
            for step, source, target in zip(steps, sources, targets, strict=False)
        ]
    losses = averaged([result.losses for result in results], epoch=epoch)
    return losses, gradients_over_ranks(results[-1].gradients)


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
            "weight, and go on from the last checkpoint"
        )
    return dict(zip(names, values.mean(dim=0).tolist(), strict=True))


def gradients_over_ranks(gradients: dict[str, Tensor]) -> dict[str, float]:
    """Average each norm over ranks, with one copy from the device."""
    values = collectives.mean_over_ranks(torch.stack(list(gradients.values()))).tolist()
    return {f"gradient_{name}": value for name, value in zip(gradients, values, strict=True)}
