"""Identity loss against cross-entropy written out."""

import math

import pytest
import torch

from daam.losses.identity import identity_loss


def identity_loss_by_hand(logits, identities, smoothing):
    total = 0.0
    for row, identity in zip(logits.tolist(), identities.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        log_p = [value - log_sum for value in row]
        total -= (1 - smoothing) * log_p[identity] + smoothing * sum(log_p) / len(row)
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("num_identities", [1, 5])
def test_matches_the_loop(smoothing, num_identities):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, num_identities, generator=generator).requires_grad_()
    identities = torch.randint(num_identities, (6,), generator=generator)
    loss = identity_loss(logits, identities, label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(
        identity_loss_by_hand(logits.detach(), identities, smoothing), abs=1e-6
    )
    assert torch.isfinite(gradient).all()


def test_a_batch_without_images_gives_zero():
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = identity_loss(logits, torch.zeros(0, dtype=torch.int64), label_smoothing=0.1)
    loss.backward()
    assert loss.item() == 0


def test_a_logit_that_is_not_a_number_is_not_hidden():
    logits = torch.full((2, 3), torch.nan)
    assert identity_loss(logits, torch.zeros(2, dtype=torch.int64), label_smoothing=0.1).isnan()
