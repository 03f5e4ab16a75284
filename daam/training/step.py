"""One step of training: one forward of both domains, one backward, one update."""

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
from daam.training.teacher import move_teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step gives, still on the device."""

    losses: dict[str, Tensor]
    """The `total`, and each term before its weight."""
    gradients: dict[str, Tensor]
    """See `gradient_norms`; empty where they were not asked for."""


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
    """Learn from one batch.

    Args:
        run: its network, optimiser and memory are changed.
        network: the run's network, or the same wrapped for data parallelism.
        source: with identities.
        target: without; None while no loss needs the target.
        labels: what the target's loss learns from, if it is part of this epoch.
        weights: of this epoch.
        learning_rate: of this step.
        teacher_momentum: what the teacher keeps of itself, where there is one.
        with_gradients: also return how hard each term pulls, see `gradient_norms`.
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
    for weight in idle_weights(run.network, weights):
        weight.grad = None
    run.optimiser.step()
    if run.teacher is not None:
        move_teacher(run.teacher, run.network, momentum=teacher_momentum)
    terms = {name: term.detach() for name, term in report.terms.items()}
    return StepResult(losses={"total": report.total.detach()} | terms, gradients=gradients)


def idle_weights(network: DaamNetwork, weights: Weights) -> Iterator[nn.Parameter]:
    """Yield the weights that no loss of this epoch teaches.

    Under data parallelism their gradient is zero and not missing, and Adam, which divides what is
    left, the decay, by its own size, would empty them within a warm-up.
    """
    nominal = isinstance(network.similarity_head, NominalHead) and weights.domain_similarity > 0
    if network.similarity_head is not None and weights.domain_similarity == 0:
        yield from network.similarity_head.parameters()
    if network.specific is not None and weights.domain_classification == 0:
        yield from network.specific.parameters()
        if network.specific_stage is not None and not nominal:
            yield from network.specific_stage.parameters()


def gradient_norms(report: LossReport, features_BCHW: Tensor) -> dict[str, Tensor]:
    """Return the norm of each weighted term's gradient on the backbone's features.

    That is what the term asks of the backbone, all of whose gradient comes through its features;
    it costs a backward pass of the branches alone.
    """
    norms = {}
    for name, weight in report.weights.items():
        (gradient,) = torch.autograd.grad(
            report.terms[name], features_BCHW, retain_graph=True, allow_unused=True
        )
        if gradient is not None:
            norms[name] = weight * gradient.detach().float().norm()
    return norms
