"""One training step: one forward pass of both domains, one backward pass, one update."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from daam.dataset.loader.batches import DomainBatch
from daam.dataset.pixels.normalise import normalise
from daam.model.heads import NominalHead
from daam.model.network import DaamNetwork
from daam.training.objective import BatchExemplars, BatchGroups, LossReport, Weights
from daam.training.setup.assemble import Run
from daam.training.teacher import update_teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The results of a step, still on the device."""

    losses: dict[str, Tensor]
    """The `total`, and each term before its weight."""
    gradients: dict[str, Tensor]
    """See `gradient_norms`; empty unless requested."""


def train_step(
    run: Run,
    network: nn.Module,
    *,
    source: DomainBatch,
    target: DomainBatch | None,
    labels: BatchGroups | BatchExemplars | None,
    weights: Weights,
    learning_rate: float,
    teacher_momentum: float,
    with_gradients: bool,
) -> StepResult:
    """Train on one batch.

    Args:
        run: its network, optimiser and memory are changed.
        network: the run's network, or the same wrapped for data parallelism.
        source: with identities.
        target: without; None while no loss needs the target.
        labels: the target's pseudo-labels or exemplars, if its loss is part of this epoch.
        weights: of this epoch.
        learning_rate: of this step.
        teacher_momentum: of the teacher's moving average, if there is one.
        with_gradients: also return `gradient_norms`.
    """
    images_BHWC = source.images if target is None else torch.cat([source.images, target.images])
    if source.identities is None:
        raise AssertionError("source batches carry identities")
    identities_S = run.compute.move(source.identities)
    with run.compute.autocast():
        output = network(normalise(run.compute.move(images_BHWC)), num_source=len(source.images))
    report = run.objective(
        output, weights=weights, identities_S=identities_S, labels=labels, memory=run.memory
    )
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate
    run.optimiser.zero_grad(set_to_none=True)
    gradients = gradient_norms(report, output.features_BCHW) if with_gradients else {}
    report.total.backward()
    for weight in unreached_parameters(run.network, weights):
        weight.grad = None
    run.optimiser.step()
    if run.teacher is not None:
        update_teacher(run.teacher, run.network, momentum=teacher_momentum)
    terms = {name: term.detach() for name, term in report.terms.items()}
    return StepResult(losses={"total": report.total.detach()} | terms, gradients=gradients)


def unreached_parameters(network: DaamNetwork, weights: Weights) -> Iterator[nn.Parameter]:
    """Yield the parameters that no active loss reaches in this epoch.

    Under data parallelism their gradient is zero, not None. Adam would then update them by weight
    decay alone, normalised to full step size, and drive them to zero within the warm-up.
    """
    nominal = isinstance(network.similarity_head, NominalHead) and weights.domain_similarity > 0
    if network.similarity_head is not None and weights.domain_similarity == 0:
        yield from network.similarity_head.parameters()
    if network.specific is not None and weights.domain_classification == 0:
        yield from network.specific.parameters()
        if network.specific_stage is not None and not nominal:
            yield from network.specific_stage.parameters()


def gradient_norms(report: LossReport, features_BCHW: Tensor) -> dict[str, Tensor]:
    """Return the norm of each weighted term's gradient with respect to the backbone's features.

    All of a term's gradient on the backbone passes through them, so this measures how strongly the
    term trains the backbone, at the cost of a backward pass through the branches alone.
    """
    norms = {}
    for name, weight in report.weights.items():
        (gradient,) = torch.autograd.grad(
            report.terms[name], features_BCHW, retain_graph=True, allow_unused=True
        )
        if gradient is not None:
            norms[name] = weight * gradient.detach().float().norm()
    return norms
