"""Domain similarity through heads against loops over images."""

import math
import statistics

import pytest
import torch

from daam.losses.domain_similarity import (
    domain_confusion_loss,
    gradient_reversal_loss,
    nominal_classifier_loss,
)

DOMAINS = [[0, 1, 0, 1, 1], [0, 0, 0, 1], [0, 1], [0, 0, 0], [1], []]


def logits_of(domains, *, classes, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(len(domains), classes, generator=generator)
    return logits.requires_grad_()


def labels_of(domains):
    return torch.tensor(domains, dtype=torch.int64)


def minus_log_p(row):
    """-log softmax of one image's logits, as a list over classes."""
    log_sum = math.log(sum(math.exp(value) for value in row))
    return [log_sum - value for value in row]


def balanced_mean_by_hand(costs, domains):
    means = []
    for domain in (0, 1):
        own = [cost for cost, d in zip(costs, domains, strict=True) if d == domain]
        if own:
            means.append(statistics.fmean(own))
    return statistics.fmean(means) if means else 0.0


def entropies_by_hand(logits, labels):
    return [minus_log_p(row)[label] for row, label in zip(logits.tolist(), labels, strict=True)]


@pytest.mark.parametrize("domains", DOMAINS)
def test_nominal_classifier_matches_the_loop(domains):
    shared = logits_of(domains, classes=3, seed=1)
    specific = logits_of(domains, classes=3, seed=2)
    loss = nominal_classifier_loss(shared, specific, labels_of(domains))
    gradients = torch.autograd.grad(loss, (shared, specific))
    by_hand = balanced_mean_by_hand(
        entropies_by_hand(shared, [2] * len(domains)), domains
    ) + balanced_mean_by_hand(entropies_by_hand(specific, domains), domains)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("domains", DOMAINS)
def test_domain_confusion_matches_the_loop(domains):
    learning = logits_of(domains, classes=2, seed=1)
    confusing = logits_of(domains, classes=2, seed=2)
    loss = domain_confusion_loss(learning, confusing, labels_of(domains))
    gradients = torch.autograd.grad(loss, (learning, confusing))
    uniform = [statistics.fmean(minus_log_p(row)) for row in confusing.tolist()]
    by_hand = balanced_mean_by_hand(
        entropies_by_hand(learning, domains), domains
    ) + balanced_mean_by_hand(uniform, domains)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("domains", DOMAINS)
def test_gradient_reversal_matches_the_loop(domains):
    logits = logits_of(domains, classes=2)
    loss = gradient_reversal_loss(logits, labels_of(domains))
    (gradient,) = torch.autograd.grad(loss, logits)
    by_hand = balanced_mean_by_hand(entropies_by_hand(logits, domains), domains)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_equal_logits_cost_what_guessing_costs():
    domains = labels_of([0, 1, 1])
    two, three = torch.zeros(3, 2), torch.zeros(3, 3)
    guesses = {
        2 * math.log(3): nominal_classifier_loss(three, three, domains),
        2 * math.log(2): domain_confusion_loss(two, two, domains),
        math.log(2): gradient_reversal_loss(two, domains),
    }
    for expected, found in guesses.items():
        assert found.item() == pytest.approx(expected)


def test_logits_far_from_zero_stay_finite():
    domains = [0, 1, 0, 1]
    two = logits_of(domains, classes=2, scale=1e4)
    three = logits_of(domains, classes=3, scale=1e4)
    for loss, logits in [
        (nominal_classifier_loss(three, three, labels_of(domains)), three),
        (domain_confusion_loss(two, two, labels_of(domains)), two),
        (gradient_reversal_loss(two, labels_of(domains)), two),
    ]:
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_a_shared_part_called_nominal_and_a_specific_part_called_its_domain_cost_nothing():
    domains = labels_of([0, 1, 1])
    sure = 50 * torch.eye(3)
    loss = nominal_classifier_loss(sure[[2, 2, 2]], sure[domains], domains)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_confusion_pulls_the_prediction_to_uniform_whatever_the_domain():
    logits = torch.tensor([[2.0, -1.0], [-3.0, 0.5]], requires_grad=True)
    learning = torch.zeros(2, 2)
    for _ in range(200):
        loss = domain_confusion_loss(learning, logits, torch.tensor([0, 1]))
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - gradient).detach().requires_grad_()
    torch.testing.assert_close(logits[:, 0], logits[:, 1], atol=1e-3, rtol=0)


def test_a_domain_with_more_images_weighs_no_more():
    once, often = [0, 1], [0, 0, 0, 1]
    three, two = logits_of(once, classes=3).detach(), logits_of(once, classes=2).detach()
    rows = [0, 0, 0, 1]
    torch.testing.assert_close(
        nominal_classifier_loss(three, three, labels_of(once)),
        nominal_classifier_loss(three[rows], three[rows], labels_of(often)),
    )
    torch.testing.assert_close(
        domain_confusion_loss(two, two, labels_of(once)),
        domain_confusion_loss(two[rows], two[rows], labels_of(often)),
    )
