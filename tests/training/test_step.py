"""One step against the same step written out, and what it may touch."""

import copy
import dataclasses

import pytest
import torch

from daam.dataset.loader.batches import DomainBatch
from daam.dataset.pixels.normalise import normalise
from daam.training.batches import source_batches, target_batches
from daam.training.objective import BatchGroups, Memory, Weights
from daam.training.relabel import regroup
from daam.training.setup.assemble import Run, assemble
from daam.training.step import StepResult, train_step
from tests.support.tiny_runs import same, weights_of

ALL = Weights(
    triplet=0.5, domain_similarity=3.0, domain_classification=0.25, target=2.0, target_triplet=0.0
)


@pytest.fixture
def run(config_of) -> Run:
    return assemble(config_of())


def step(
    run: Run,
    source: DomainBatch,
    target: DomainBatch | None = None,
    *,
    labels: BatchGroups | None = None,
    weights: Weights = ALL,
    learning_rate: float = 0.01,
    with_gradients: bool = False,
) -> StepResult:
    """A step of the run's own network."""
    return train_step(
        run,
        run.network,
        source=source,
        target=target,
        labels=labels,
        weights=weights,
        learning_rate=learning_rate,
        teacher_momentum=0.9,
        with_gradients=with_gradients,
    )


def first_batches(run: Run) -> tuple[DomainBatch, DomainBatch]:
    source = next(source_batches(run, epoch=0, steps=range(1)))
    target = next(target_batches(run, epoch=0, steps=range(1), labels=None))
    return source, target


def test_a_step_is_one_forward_one_backward_and_one_update_of_adam(run):
    labels = regroup(run)
    source, target = first_batches(run)
    groups = labels.of_rows(target.rows, run)
    network, memory = copy.deepcopy(run.network), copy.deepcopy(run.memory)
    sizes: list[int] = []
    run.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    result = step(run, source, target, labels=groups, learning_rate=0.003)
    assert sizes == [16]  # both domains in one pass

    network.train()
    output = network(normalise(torch.cat([source.images, target.images])), num_source=8)
    assert source.identities is not None
    report = run.objective(
        output, weights=ALL, identities_S=source.identities, labels=groups, memory=memory
    )
    report.total.backward()
    decay = run.config.optimiser.weight_decay
    for (name, weight), (_, found) in zip(
        network.named_parameters(), run.network.named_parameters(), strict=True
    ):
        if weight.grad is None:
            assert torch.equal(found, weight), name
            continue
        gradient = weight.grad + decay * weight
        moved = weight - 0.003 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        torch.testing.assert_close(found, moved, rtol=1e-4, atol=2e-5, msg=name)
    assert set(result.losses) == {"total", *report.terms}
    for name, term in report.terms.items():
        torch.testing.assert_close(result.losses[name], term)
        assert not result.losses[name].requires_grad
    assert run.memory.nominal_centre is not None
    torch.testing.assert_close(run.memory.nominal_centre, memory.nominal_centre)


def test_a_learning_rate_of_zero_moves_no_weight(run):
    source, target = first_batches(run)
    before = {name: weight.detach().clone() for name, weight in run.network.named_parameters()}
    step(run, source, target, learning_rate=0.0)
    for name, weight in run.network.named_parameters():
        assert torch.equal(weight, before[name])


def test_a_step_of_the_source_alone_remembers_nothing(run):
    source, _ = first_batches(run)
    weights = Weights(
        triplet=1, domain_similarity=0, domain_classification=0, target=0, target_triplet=0
    )
    result = step(run, source, weights=weights)
    assert set(result.losses) == {"total", "identity", "triplet", "domain_classification"}
    assert run.memory == Memory()


def test_gradients_of_the_step_before_are_forgotten(run):
    source, target = first_batches(run)
    learning = [weight for weight in run.network.parameters() if weight.requires_grad]
    for weight in learning:
        weight.grad = torch.full_like(weight, 1e6)
    step(run, source, target, learning_rate=0.0)
    for weight in learning:
        assert weight.grad is not None
        assert weight.grad.abs().max() < 1e3


def test_a_source_without_identities_is_a_mistake_in_the_code(run):
    source, target = first_batches(run)
    with pytest.raises(AssertionError, match="source batches carry identities"):
        step(run, dataclasses.replace(source, identities=None), target)


def test_looking_at_the_gradients_of_each_loss_changes_nothing(run, config_of):
    source, target = first_batches(run)
    labels = regroup(run).of_rows(target.rows, run)
    other = assemble(config_of())
    regroup(other)
    results = [
        step(one, source, target, labels=labels, with_gradients=one is run) for one in (run, other)
    ]
    assert set(results[0].gradients) == set(results[0].losses) - {"total"}
    assert results[1].gradients == {}
    assert same(weights_of(run), weights_of(other))


def test_the_pull_of_each_loss_is_what_it_alone_asks_of_the_features(run):
    source, target = first_batches(run)
    labels = regroup(run).of_rows(target.rows, run)
    network, memory = copy.deepcopy(run.network), copy.deepcopy(run.memory)
    found = step(run, source, target, labels=labels, with_gradients=True).gradients

    network.train()
    output = network(normalise(torch.cat([source.images, target.images])), num_source=8)
    output.features_BCHW.retain_grad()
    assert source.identities is not None
    report = run.objective(
        output, weights=ALL, identities_S=source.identities, labels=labels, memory=memory
    )
    for name, weight in (("triplet", 0.5), ("domain_similarity", 3.0), ("target", 2.0)):
        output.features_BCHW.grad = None
        (weight * report.terms[name]).backward(retain_graph=True)
        assert output.features_BCHW.grad is not None
        torch.testing.assert_close(found[name], output.features_BCHW.grad.norm())


@pytest.mark.parametrize("kind", ["nominal_classifier", "domain_confusion", "gradient_reversal"])
@pytest.mark.parametrize("placement", ["last", "before_last"])
def test_what_no_loss_teaches_yet_stays_as_it_is(config_of, kind, placement):
    changes = {"loss.domain_similarity.kind": kind, "model.attention.placement": placement}
    run = assemble(config_of(changes))
    source, _ = first_batches(run)
    before = weights_of(run)
    step(
        run,
        source,
        weights=dataclasses.replace(
            ALL, domain_similarity=0, domain_classification=0, target=0, target_triplet=0
        ),
    )
    taught = dict(run.network.named_parameters())
    idle = {name for name in taught if name.startswith(("similarity_head", "specific"))}
    assert len(idle) >= 6
    assert all(torch.equal(taught[name], before[name]) for name in idle)
    assert not torch.equal(taught["shared.classifier.weight"], before["shared.classifier.weight"])
