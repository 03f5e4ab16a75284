"""Batch-hard triplets of groups: outliers might as well not be there."""

import pytest
import torch
from torch.nn.functional import normalize

from daam.losses.target import group_triplet_loss


def group_triplet_by_hand(embeddings, groups, margin):
    known = [i for i, group in enumerate(groups) if group >= 0]
    losses = []
    for anchor in known:
        distance = {i: 1 - float(embeddings[anchor] @ embeddings[i]) for i in known if i != anchor}
        same = [d for i, d in distance.items() if groups[i] == groups[anchor]]
        other = [d for i, d in distance.items() if groups[i] != groups[anchor]]
        if same and other:
            losses.append(max(0.0, max(same) - min(other) + margin))
    return sum(losses) / len(losses) if losses else 0.0


def images_of(groups, *, width=8):
    generator = torch.Generator().manual_seed(0)
    embeddings = normalize(torch.randn(len(groups), width, generator=generator), dim=1)
    return embeddings.requires_grad_(), torch.tensor(groups, dtype=torch.int64)


@pytest.mark.parametrize(
    "groups",
    [
        [0, 0, -1, 1, 1, -1, 2],
        [5, -1, 5, -1, 5],  # one group
        [-1, -1, -1],  # all outliers
        [0, -1, 1, 2],  # no positive
        [],
    ],
)
def test_matches_the_loop(groups):
    embeddings, labels = images_of(groups)
    loss = group_triplet_loss(embeddings, labels, margin=0.3)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    by_hand = group_triplet_by_hand(embeddings.detach(), groups, 0.3)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_outliers_change_nothing_and_get_no_gradient():
    embeddings, groups = images_of([0, 0, -1, 1, 1, -1])
    loss = group_triplet_loss(embeddings, groups, margin=0.3)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    known = groups >= 0
    torch.testing.assert_close(
        loss, group_triplet_loss(embeddings[known], groups[known], margin=0.3)
    )
    assert (gradient[~known] == 0).all()
    assert (gradient[known] != 0).any()


def test_equal_embeddings_cost_the_margin_and_have_a_finite_gradient():
    embeddings = normalize(torch.ones(6, 8), dim=1).requires_grad_()
    loss = group_triplet_loss(embeddings, torch.tensor([0, 0, 1, 1, -1, -1]), margin=0.3)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert loss.item() == pytest.approx(0.3, abs=1e-6)
    assert torch.isfinite(gradient).all()
