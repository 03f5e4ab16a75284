"""The heads' gradients go where each form of domain similarity needs them, and nowhere else."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daam.model.heads import ConfusionHead, NominalHead, ReversalHead, reverse_gradient

B, C = 5, 8


def embeddings(seed: int = 0) -> Tensor:
    vectors = torch.randn(B, C, generator=torch.Generator().manual_seed(seed))
    return F.normalize(vectors, dim=1).requires_grad_()


def gradients_of(head: nn.Module) -> list[Tensor | None]:
    return [weight.grad for weight in head.parameters()]


def test_a_reversed_gradient_is_the_negative_and_the_value_the_same():
    plain, turned = embeddings(), embeddings()
    weights = torch.randn(B, C)
    assert torch.equal(reverse_gradient(turned), turned)
    (plain * weights).sum().backward()
    (reverse_gradient(turned) * weights).sum().backward()
    assert plain.grad is not None
    assert turned.grad is not None
    assert torch.equal(turned.grad, -plain.grad)


def test_the_nominal_head_classifies_both_parts_with_the_same_weights():
    head, shared, specific = NominalHead(C), embeddings(0), embeddings(1)
    of_shared, of_specific = head(shared, specific)
    assert of_shared.shape == of_specific.shape == (B, 3)
    swapped = head(specific, shared)
    assert torch.equal(of_shared, swapped[1])
    assert torch.equal(of_specific, swapped[0])
    (of_shared.square().sum() + of_specific.square().sum()).backward()
    for part in (shared, specific):
        assert part.grad is not None
        assert part.grad.any()


def test_the_confusion_heads_logits_are_equal_and_each_stops_one_sides_gradient():
    head, shared = ConfusionHead(C), embeddings()
    learning, confusing = head(shared)
    assert learning.shape == (B, 2)
    assert torch.equal(learning, confusing)
    confusing.square().sum().backward()
    assert shared.grad is not None
    assert shared.grad.any()
    assert all(gradient is None for gradient in gradients_of(head))

    shared.grad = None
    learning, _ = head(shared)
    learning.square().sum().backward()
    assert shared.grad is None
    assert all(gradient is not None and gradient.any() for gradient in gradients_of(head))


def test_the_reversal_head_learns_what_its_embeddings_unlearn():
    head, shared, plain = ReversalHead(C), embeddings(), embeddings()
    logits, nothing = head(shared)
    assert nothing is None
    assert logits.shape == (B, 2)
    logits.square().sum().backward()
    turned = [gradient.clone() for gradient in gradients_of(head) if gradient is not None]
    head.zero_grad()
    straight = head.output(torch.relu(head.hidden(plain * C**0.5)))
    torch.testing.assert_close(straight, logits)
    straight.square().sum().backward()
    assert shared.grad is not None
    assert plain.grad is not None
    torch.testing.assert_close(shared.grad, -plain.grad)
    for ours, straights in zip(turned, gradients_of(head), strict=True):
        torch.testing.assert_close(ours, straights)


@pytest.mark.parametrize("head", [ConfusionHead, ReversalHead])
def test_logits_do_not_fade_in_wide_embeddings(head):
    torch.manual_seed(0)
    narrow, wide = (
        head(width)(F.normalize(torch.randn(64, width), dim=1))[0].std().item()
        for width in (32, 2048)
    )
    assert wide == pytest.approx(narrow, rel=0.7)
