"""What holds for every loss: float32 values in a bf16 network, and no waiting for the device."""

import pytest
import torch
from torch.nn.functional import normalize

from daam.losses.domain_classification import domain_classification_loss
from daam.losses.domain_similarity import (
    domain_confusion_loss,
    gradient_reversal_loss,
    nominal_classifier_loss,
    nominal_moment,
    soft_svdd_loss,
)
from daam.losses.identity import identity_loss
from daam.losses.target import exemplar_loss, group_triplet_loss, soft_label_loss
from daam.losses.triplet import batch_hard_triplet

LABELS = torch.tensor([0, 1, 0, 1, 1, 0])
VECTORS = normalize(torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(0)), dim=2)

LOSSES = {
    "identity": lambda x: identity_loss(x, LABELS, label_smoothing=0.1),
    "triplet": lambda x: batch_hard_triplet(x, LABELS, margin=0.3),
    "nominal_moment": lambda x: nominal_moment(
        x, LABELS, centre=VECTORS[1, 0], spread=VECTORS[1, 1].abs(), gamma=1.0
    ),
    "nominal_classifier": lambda x: nominal_classifier_loss(x[:, :3], x[:, 3:6], LABELS),
    "soft_svdd": lambda x: soft_svdd_loss(x, LABELS, centre=VECTORS[1, 0], quantile=0.5),
    "domain_confusion": lambda x: domain_confusion_loss(x[:, :2], x[:, 2:4], LABELS),
    "gradient_reversal": lambda x: gradient_reversal_loss(x[:, :2], LABELS),
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
    "exemplar": lambda x: exemplar_loss(
        x, torch.arange(6), VECTORS[1], temperature=0.05, num_neighbours=2
    ),
    "group_triplet": lambda x: group_triplet_loss(x, LABELS, margin=0.3),
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


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_loss_is_one_graph_so_no_value_is_read_back_from_the_device(loss):
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    assert torch.equal(compiled(VECTORS[0]), loss(VECTORS[0]))
