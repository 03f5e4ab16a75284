"""Balanced domain classification against a loop over domains."""

import math

import pytest
import torch

from daam.losses.domain_classification import domain_classification_loss


def domain_classification_by_hand(logits, domains):
    means = []
    for domain in (0, 1):
        losses = [
            math.log(math.exp(row[0]) + math.exp(row[1])) - row[domain]
            for row, actual in zip(logits.tolist(), domains, strict=True)
            if actual == domain
        ]
        if losses:
            means.append(sum(losses) / len(losses))
    return sum(means) / len(means) if means else 0.0


@pytest.mark.parametrize("domains", [[0, 1], [0, 0, 0, 1], [1, 0, 1, 1, 1], [0, 0], [1], []])
def test_matches_the_loop(domains):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(domains), 2, generator=generator).requires_grad_()
    loss = domain_classification_loss(logits, torch.tensor(domains, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss, logits)
    by_hand = domain_classification_by_hand(logits.detach(), domains)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_a_domain_with_more_images_weighs_no_more():
    logits = torch.tensor([[1.0, -1.0], [0.5, 0.0]])
    once = domain_classification_loss(logits, torch.tensor([0, 1]))
    thrice = domain_classification_loss(logits[[0, 0, 0, 1]], torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(once, thrice)
