"""One step of training: one forward of both domains, one backward, one update."""

import torch
from torch import Tensor, nn

from daam.data.batches import DomainBatch
from daam.data.transforms import normalise
from daam.training.assemble import Run
from daam.training.objective import BatchGroups, Weights


def train_step(
    run: Run,
    network: nn.Module,
    *,
    source: DomainBatch,
    target: DomainBatch | None,
    groups: BatchGroups | None,
    weights: Weights,
    learning_rate: float,
) -> dict[str, Tensor]:
    """Learn from one batch; return the total and each term, still on the device.

    Args:
        run: its network, optimiser and memory are changed.
        network: the run's network, or the same wrapped for data parallelism.
        source: with identities.
        target: without; None while no loss needs the target.
        groups: the pseudo-labels of the target images, if there are any.
        weights: of this epoch.
        learning_rate: of this step.
    """
    images_BHWC = source.images if target is None else torch.cat([source.images, target.images])
    if source.identities is None:
        raise AssertionError("source batches carry identities")
    identities_S = run.compute.move(source.identities)
    with run.compute.autocast():
        output = network(normalise(run.compute.move(images_BHWC)), num_source=len(source.images))
    report = run.objective(
        output, weights=weights, identities_S=identities_S, groups=groups, memory=run.memory
    )
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate
    run.optimiser.zero_grad(set_to_none=True)
    report.total.backward()
    run.optimiser.step()
    return {"total": report.total.detach()} | {
        name: term.detach() for name, term in report.terms.items()
    }
