"""The nominal domain against loops over domains and components."""

import statistics

import pytest
import torch
from torch.nn.functional import normalize

from daam.losses.domain_similarity import domain_moments, nominal_moment, update_nominal_domain

DOMAINS = [[0, 1, 0, 1, 1], [1, 1, 0], [0, 1], [0, 0, 0], [1], []]


def images_of(domains, *, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = normalize(torch.randn(len(domains), width, generator=generator), dim=1)
    return embeddings.requires_grad_(), torch.tensor(domains, dtype=torch.int64)


def moments_by_hand(embeddings, domains):
    """For each domain that has images: means and standard deviations of every component."""
    moments = {}
    for domain in sorted(set(domains)):
        rows = [row for row, d in zip(embeddings.tolist(), domains, strict=True) if d == domain]
        components = list(zip(*rows, strict=True))
        moments[domain] = (
            [statistics.fmean(values) for values in components],
            [statistics.pstdev(values) for values in components],
        )
    return moments


def nominal_moment_by_hand(embeddings, domains, centre, spread, gamma):
    loss = 0.0
    for mean, std in moments_by_hand(embeddings, domains).values():
        loss += sum((m - c) ** 2 for m, c in zip(mean, centre.tolist(), strict=True))
        loss += gamma * sum((s - r) ** 2 for s, r in zip(std, spread.tolist(), strict=True))
    return loss


@pytest.mark.parametrize("domains", DOMAINS)
def test_moments_match_the_loop(domains):
    embeddings, labels = images_of(domains)
    moments = domain_moments(embeddings, labels)
    by_hand = moments_by_hand(embeddings.detach(), domains)
    for domain in (0, 1):
        mean, std = by_hand.get(domain, ([0.0] * 6, [0.0] * 6))
        assert moments.count[domain] == domains.count(domain)
        assert moments.mean[domain].tolist() == pytest.approx(mean, abs=1e-6)
        assert moments.std[domain].tolist() == pytest.approx(std, abs=2e-5)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("domains", DOMAINS)
def test_nominal_moment_matches_the_loop(domains, gamma):
    embeddings, labels = images_of(domains)
    centre, spread = torch.linspace(-0.3, 0.3, 6), torch.linspace(0.1, 0.5, 6)
    loss = nominal_moment(embeddings, labels, centre=centre, spread=spread, gamma=gamma)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    by_hand = nominal_moment_by_hand(embeddings.detach(), domains, centre, spread, gamma)
    assert loss.item() == pytest.approx(by_hand, abs=5e-4)
    assert torch.isfinite(gradient).all()


def test_equal_embeddings_have_a_finite_gradient():
    embeddings = normalize(torch.ones(6, 8), dim=1).requires_grad_()
    loss = nominal_moment(
        embeddings,
        torch.tensor([0, 0, 0, 1, 1, 1]),
        centre=torch.zeros(8),
        spread=torch.full((8,), 0.4),
        gamma=1.0,
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert torch.isfinite(gradient).all()


def test_the_nominal_domain_gets_no_gradient():
    embeddings, labels = images_of([0, 1, 0, 1])
    centre = torch.zeros(6, requires_grad=True)
    spread = torch.ones(6, requires_grad=True)
    nominal_moment(embeddings, labels, centre=centre, spread=spread, gamma=1.0).backward()
    assert centre.grad is None
    assert spread.grad is None


def test_following_the_gradient_brings_the_domains_together():
    embeddings, labels = images_of([0, 0, 0, 1, 1, 1])
    moments = domain_moments(embeddings, labels)
    centre, spread = update_nominal_domain(torch.zeros(6), torch.zeros(6), moments, beta=0.0)
    for _ in range(100):
        loss = nominal_moment(embeddings, labels, centre=centre, spread=spread, gamma=1.0)
        (gradient,) = torch.autograd.grad(loss, embeddings)
        embeddings = (embeddings - 0.3 * gradient).detach().requires_grad_()
    moved = domain_moments(embeddings, labels)
    torch.testing.assert_close(moved.mean[0], moved.mean[1], atol=1e-3, rtol=0)
    torch.testing.assert_close(moved.std[0], moved.std[1], atol=1e-2, rtol=0)


@pytest.mark.parametrize("domains", DOMAINS)
@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
def test_the_nominal_domain_moves_as_the_loop_does(domains, beta):
    embeddings, labels = images_of(domains)
    centre, spread = torch.linspace(-0.3, 0.3, 6), torch.linspace(0.1, 0.5, 6)
    moments = domain_moments(embeddings, labels)
    moved_centre, moved_spread = update_nominal_domain(centre, spread, moments, beta=beta)
    by_hand = list(moments_by_hand(embeddings.detach(), domains).values())
    for k in range(6):
        if by_hand:
            mean = statistics.fmean(mean[k] for mean, _ in by_hand)
            std = statistics.fmean(std[k] for _, std in by_hand)
        else:
            mean, std = centre[k].item(), spread[k].item()
        assert moved_centre[k].item() == pytest.approx(
            beta * centre[k].item() + (1 - beta) * mean, abs=1e-6
        )
        assert moved_spread[k].item() == pytest.approx(
            beta * spread[k].item() + (1 - beta) * std, abs=2e-5
        )
    assert not moved_centre.requires_grad
    assert not moved_spread.requires_grad


def test_ranks_that_average_their_results_agree_with_averaged_moments():
    centre, spread = torch.zeros(6), torch.ones(6)
    moved = [
        update_nominal_domain(
            centre, spread, domain_moments(*images_of([0, 1, 1], seed=seed)), beta=0.9
        )[0]
        for seed in (1, 2)
    ]
    means = [domain_moments(*images_of([0, 1, 1], seed=seed)).mean for seed in (1, 2)]
    expected = 0.9 * centre + 0.1 * torch.stack(means).mean(dim=(0, 1))
    torch.testing.assert_close(torch.stack(moved).mean(dim=0), expected)
