"""Soft-label loss against a loop over images and groups."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from daam.losses.target import soft_label_loss


def softmax_by_hand(values):
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def soft_label_by_hand(embeddings, groups, centres, start, temperature, target_temperature, e):
    losses = []
    for z, z0, group in zip(embeddings, start, groups, strict=True):
        if group < 0:
            continue
        p = softmax_by_hand([float(z @ c) / temperature for c in centres])
        soft = softmax_by_hand([float(z0 @ c) / target_temperature for c in centres])
        q = [(1 - e) * (k == group) + e * soft[k] for k in range(len(centres))]
        losses.append(-sum(q_k * math.log(p_k) for q_k, p_k in zip(q, p, strict=True)))
    return sum(losses) / len(losses) if losses else 0.0


def batch(num_images, num_groups, *, width=8):
    generator = torch.Generator().manual_seed(0)
    embeddings, start = (
        normalize(torch.randn(num_images, width, generator=generator), dim=1) for _ in range(2)
    )
    centres = normalize(torch.randn(num_groups, width, generator=generator), dim=1)
    return embeddings.requires_grad_(), start, centres


@pytest.mark.parametrize("softness", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("groups", "num_groups"),
    [
        ([0, 1, 2, 1], 3),
        ([0, -1, 2, -1, 0], 3),
        ([0, 0], 1),  # one group
        ([-1, -1, -1], 2),  # all outliers
        ([-1, -1], 0),  # no group at all
        ([], 3),
    ],
)
def test_matches_the_loop(groups, num_groups, softness):
    embeddings, start, centres = batch(len(groups), num_groups)
    loss = soft_label_loss(
        embeddings,
        torch.tensor(groups, dtype=torch.int64),
        centres,
        epoch_start_embeddings=start,
        temperature=0.05,
        target_temperature=0.1,
        softness=softness,
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    by_hand = soft_label_by_hand(embeddings.detach(), groups, centres, start, 0.05, 0.1, softness)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5, abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_outliers_get_no_gradient():
    embeddings, start, centres = batch(3, 4)
    loss = soft_label_loss(
        embeddings,
        torch.tensor([0, -1, 3]),
        centres,
        epoch_start_embeddings=start,
        temperature=0.05,
        target_temperature=0.1,
        softness=0.3,
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert (gradient[1] == 0).all()
    assert (gradient[[0, 2]] != 0).any(dim=1).all()


def test_only_the_embeddings_get_a_gradient():
    embeddings, start, centres = batch(3, 4)
    start.requires_grad_()
    centres.requires_grad_()
    soft_label_loss(
        embeddings,
        torch.tensor([0, 1, 3]),
        centres,
        epoch_start_embeddings=start,
        temperature=0.05,
        target_temperature=0.1,
        softness=0.3,
    ).backward()
    assert start.grad is None
    assert centres.grad is None


def test_equal_embeddings_and_centres_have_a_finite_gradient():
    embeddings = normalize(torch.ones(4, 8), dim=1).requires_grad_()
    loss = soft_label_loss(
        embeddings,
        torch.tensor([0, 1, 2, -1]),
        normalize(torch.ones(3, 8), dim=1),
        epoch_start_embeddings=embeddings,
        temperature=0.05,
        target_temperature=0.1,
        softness=0.3,
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert loss.item() == pytest.approx(math.log(3), abs=1e-5)
    assert torch.isfinite(gradient).all()
