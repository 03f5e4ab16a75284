"""Batch-hard triplet loss against a loop over anchors."""

import pytest
import torch
from torch.nn.functional import normalize

from daam.losses.triplet import batch_hard_triplet


def triplet_by_hand(embeddings, identities, margin):
    losses = []
    for anchor, identity in enumerate(identities):
        distance = [1 - float(embeddings[anchor] @ other) for other in embeddings]
        rest = [i for i in range(len(identities)) if i != anchor and identities[i] >= 0]
        positives = [distance[i] for i in rest if identities[i] == identity]
        negatives = [distance[i] for i in rest if identities[i] != identity]
        if identity >= 0 and positives and negatives:
            losses.append(max(0.0, max(positives) - min(negatives) + margin))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize(
    "identities",
    [
        [0, 0, 1, 1],
        [0, 0, 0, 1],
        [0, 0, 0, 0],  # one identity: no negative
        [0, 1, 2, 3],  # no positive
        [7, 7, -1, 3, 3, -1, 5],  # outliers
        [-1, -1, 0, 0],  # an outlier is no negative
        [-1, -1, -1],
        [4],
        [],
    ],
)
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_matches_the_loop(identities, margin):
    generator = torch.Generator().manual_seed(0)
    embeddings = normalize(torch.randn(len(identities), 8, generator=generator), dim=1)
    embeddings.requires_grad_()
    labels = torch.tensor(identities, dtype=torch.int64)
    loss = batch_hard_triplet(embeddings, labels, margin=margin)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    by_hand = triplet_by_hand(embeddings.detach(), identities, margin)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_equal_embeddings_cost_the_margin_and_have_a_finite_gradient():
    embeddings = normalize(torch.ones(6, 8), dim=1).requires_grad_()
    loss = batch_hard_triplet(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]), margin=0.3)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert loss.item() == pytest.approx(0.3, abs=1e-6)
    assert torch.isfinite(gradient).all()
