"""Every loss gives float32 values in a bf16 network, with or without autocast."""

import pytest
import torch
from torch.nn.functional import normalize

from daam.loss.domain_classification import domain_classification_loss
from daam.loss.domain_similarity import nominal_moment
from daam.loss.identity import identity_loss
from daam.loss.target import soft_label_loss
from daam.loss.triplet import batch_hard_triplet

LABELS = torch.tensor([0, 1, 0, 1, 1, 0])
VECTORS = normalize(torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(0)), dim=2)

LOSSES = {
    "identity": lambda x: identity_loss(x, LABELS, label_smoothing=0.1),
    "triplet": lambda x: batch_hard_triplet(x, LABELS, margin=0.3),
    "nominal_moment": lambda x: nominal_moment(
        x, LABELS, centre=VECTORS[1, 0], spread=VECTORS[1, 1].abs(), gamma=1.0
    ),
    "domain_classification": lambda x: domain_classification_loss(x[:, :2], LABELS),
    "soft_label": lambda x: soft_label_loss(
        x,
        LABELS,
        VECTORS[1],
        epoch_start_embeddings=VECTORS[2],
        temperature=0.05,
        target_temperature=0.1,
        softness=0.3,
    ),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_autocast_does_not_change_a_loss(loss):
    expected = loss(VECTORS[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(VECTORS[0])
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_bf16_inputs_lose_only_their_own_rounding(loss):
    rounded = VECTORS[0].bfloat16().requires_grad_()
    found = loss(rounded)
    (gradient,) = torch.autograd.grad(found, rounded)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(VECTORS[0].bfloat16().float()))
    assert torch.isfinite(gradient).all()
