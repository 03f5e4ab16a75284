"""The source's ball against loops over images."""

import pytest
import torch
from torch.nn.functional import normalize

from daam.losses.domain_similarity import soft_svdd_loss, update_source_centre

DOMAINS = [[0, 1, 0, 1, 1, 0, 0], [0, 1], [1, 0, 0, 0, 0], [0, 0, 0], [1, 1], [1], []]


def images_of(domains, *, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = normalize(torch.randn(len(domains), width, generator=generator), dim=1)
    return embeddings.requires_grad_(), torch.tensor(domains, dtype=torch.int64)


def quantile_by_hand(values, share):
    """Linear interpolation between the two values around the place share * (n - 1)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def soft_svdd_by_hand(embeddings, domains, centre, share):
    distances = [
        sum((z - c) ** 2 for z, c in zip(row, centre.tolist(), strict=True))
        for row in embeddings.tolist()
    ]
    source = [value for value, d in zip(distances, domains, strict=True) if d == 0]
    target = [value for value, d in zip(distances, domains, strict=True) if d == 1]
    if not source or not target:
        return 0.0
    radius = quantile_by_hand(source, share)
    return sum(max(0.0, value - radius) for value in target) / len(target)


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("domains", DOMAINS)
def test_matches_the_loop(domains, quantile):
    embeddings, labels = images_of(domains)
    centre = torch.linspace(-0.3, 0.3, 6)
    loss = soft_svdd_loss(embeddings, labels, centre=centre, quantile=quantile)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    by_hand = soft_svdd_by_hand(embeddings.detach(), domains, centre, quantile)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_only_target_images_outside_the_ball_get_a_gradient():
    embeddings = torch.eye(4)[[0, 0, 1, 0, 2]].requires_grad_()
    domains = torch.tensor([0, 0, 0, 1, 1])
    centre = torch.eye(4)[0] / 2
    loss = soft_svdd_loss(embeddings, domains, centre=centre, quantile=0.5)  # all rows 0: inside
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert (gradient != 0).any(dim=1).tolist() == [False, False, False, False, True]


def test_the_centre_gets_no_gradient():
    embeddings, labels = images_of([0, 1, 0, 1])
    centre = torch.zeros(6, requires_grad=True)
    soft_svdd_loss(embeddings, labels, centre=centre, quantile=0.9).backward()
    assert centre.grad is None


def test_equal_embeddings_cost_nothing_and_have_a_finite_gradient():
    embeddings = normalize(torch.ones(6, 8), dim=1).requires_grad_()
    centre = embeddings[0].detach()
    domains = torch.tensor([0, 0, 0, 1, 1, 1])
    loss = soft_svdd_loss(embeddings, domains, centre=centre, quantile=0.9)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert loss.item() == 0
    assert torch.isfinite(gradient).all()


def test_following_the_gradient_brings_the_target_into_the_ball():
    embeddings, labels = images_of([0, 0, 0, 1, 1, 1])
    centre = update_source_centre(torch.zeros(6), embeddings, labels, beta=0.0)
    source_before = embeddings[labels == 0].detach()
    for _ in range(100):
        loss = soft_svdd_loss(embeddings, labels, centre=centre, quantile=0.9)
        (gradient,) = torch.autograd.grad(loss, embeddings)
        embeddings = (embeddings - 0.2 * gradient).detach().requires_grad_()
    assert soft_svdd_loss(embeddings, labels, centre=centre, quantile=0.9).item() < 1e-6
    assert torch.equal(embeddings[labels == 0], source_before)


def test_an_embedding_that_is_not_a_number_is_not_hidden():
    embeddings, labels = images_of([0, 0, 1, 1])
    for row in range(4):
        broken = embeddings.detach().clone()
        broken[row] = torch.nan
        centre = update_source_centre(torch.zeros(6), broken, labels, beta=0.9)
        assert soft_svdd_loss(broken, labels, centre=centre, quantile=0.9).isnan()


@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("domains", DOMAINS)
def test_the_centre_moves_as_the_loop_does(domains, beta):
    embeddings, labels = images_of(domains)
    centre = torch.linspace(-0.3, 0.3, 6)
    moved = update_source_centre(centre, embeddings, labels, beta=beta)
    source = [row for row, d in zip(embeddings.tolist(), domains, strict=True) if d == 0]
    for k in range(6):
        expected = centre[k].item()
        if source:
            expected = beta * expected + (1 - beta) * sum(row[k] for row in source) / len(source)
        assert moved[k].item() == pytest.approx(expected, abs=1e-6)
    assert not moved.requires_grad


def test_bf16_embeddings_move_a_float32_centre():
    embeddings, labels = images_of([0, 1, 0])
    moved = update_source_centre(torch.zeros(6), embeddings.bfloat16(), labels, beta=0.9)
    assert moved.dtype == torch.float32
