"""Label-free diagnostics against loops, and on embeddings whose health is known."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from daam.errors import EvaluationError
from daam.metrics import diagnostics
from daam.metrics.diagnostics import (
    AttentionStatistics,
    attention_statistics,
    domain_mean_cosine,
    domain_probe_accuracy,
    mean_pairwise_distance,
    silhouette,
)


def embeddings_of(num_images, *, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num_images, width, generator=generator), dim=1)


def test_attention_statistics_match_the_loop():
    attention = torch.rand(3, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    values = attention.flatten().tolist()
    mean = sum(values) / len(values)
    found = attention_statistics(attention)
    assert found.mean == pytest.approx(mean, abs=1e-6)
    assert found.std == pytest.approx(
        (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5, abs=1e-6
    )
    assert found.share_above == pytest.approx(sum(v > 0.9 for v in values) / len(values))
    assert found.share_below == pytest.approx(sum(v < 0.1 for v in values) / len(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_that_is_all_shared_shows(dtype):
    found = attention_statistics(torch.ones(2, 3, 4, 4, dtype=dtype))
    assert (found.mean, found.std, found.share_above, found.share_below) == (1, 0, 1, 0)


def test_statistics_of_batches_pool_to_those_of_all_images():
    attention = torch.rand(10, 4, 5, 2, generator=torch.Generator().manual_seed(0)) ** 3
    sizes = [1, 2, 7]
    pooled = AttentionStatistics.pooled(
        [attention_statistics(part) for part in attention.split(sizes)], num_images=sizes
    )
    whole = attention_statistics(attention)
    assert dataclasses.astuple(pooled) == pytest.approx(dataclasses.astuple(whole), abs=1e-6)


def test_the_probe_tells_shifted_domains_apart():
    domains = torch.arange(400) % 2
    shifted = embeddings_of(400) + 2 * domains[:, None] / 4
    assert domain_probe_accuracy(shifted, domains, seed=0) > 0.95


def test_the_probe_is_at_chance_where_there_is_no_domain():
    domains = (torch.arange(1200) % 4 == 0).long()  # unequal sizes must not help it
    accuracy = domain_probe_accuracy(embeddings_of(1200), domains, seed=0)
    assert accuracy == pytest.approx(0.5, abs=0.1)


def test_the_probe_is_tried_on_images_it_has_not_seen():
    domains = torch.arange(40) % 2  # wider than there are images: it could learn all by heart
    accuracy = domain_probe_accuracy(embeddings_of(40, width=200), domains, seed=0)
    assert accuracy < 0.9


def probe_by_hand(features, domains, *, seed):
    """Ridge regression by the normal equations, learnt from each half and tried on the other."""
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(domains == domain)) for domain in (0, 1)]
    half = min(len(rows) for rows in members) // 2
    halves = [
        np.concatenate([rows[:half] for rows in members]),
        np.concatenate([rows[half : 2 * half] for rows in members]),
    ]
    side = np.where(domains == 1, 1.0, -1.0)
    num_right = 0
    for taught, tried in (halves, halves[::-1]):
        mean, std = features[taught].mean(axis=0), features[taught].std(axis=0)
        known, unknown = (features[taught] - mean) / std, (features[tried] - mean) / std
        penalty = diagnostics.PROBE_PENALTY * len(taught) * np.eye(features.shape[1])
        weight = np.linalg.solve(known.T @ known + penalty, known.T @ side[taught])
        num_right += sum(
            (row @ weight > 0) == (where > 0)
            for row, where in zip(unknown, side[tried], strict=True)
        )
    return num_right / (4 * half)


@pytest.mark.parametrize("width", [16, 100])  # fewer and more than the 60 images of a half
def test_the_probe_is_the_ridge_regression_it_says(width):
    domains = torch.arange(120) % 2
    embeddings = embeddings_of(120, width=width) + domains[:, None] / (width / 2)
    found = domain_probe_accuracy(embeddings, domains, seed=3)
    expected = probe_by_hand(embeddings.double().numpy(), domains.numpy(), seed=3)
    assert found == pytest.approx(expected)
    assert 0.55 < found < 0.99


def test_the_probe_repeats_with_its_seed_and_takes_a_sample(monkeypatch):
    domains = torch.arange(400) % 2
    embeddings = embeddings_of(400) + domains[:, None] / 10
    monkeypatch.setattr(diagnostics, "PROBE_IMAGES_PER_DOMAIN", 50)
    scores = [domain_probe_accuracy(embeddings, domains, seed=seed) for seed in (1, 1, 2, 3, 4)]
    assert scores[0] == scores[1]
    assert len(set(scores)) > 1
    for score in scores:
        assert score * 200 == pytest.approx(round(score * 200))


def test_a_constant_embedding_can_be_probed():
    accuracy = domain_probe_accuracy(torch.ones(20, 4), torch.arange(20) % 2, seed=0)
    assert accuracy == 0.5


@pytest.mark.parametrize("num_target", [0, 1])
def test_a_probe_without_both_domains_is_an_error(num_target):
    domains = torch.tensor([0] * 10 + [1] * num_target)
    with pytest.raises(EvaluationError, match=f"10 of the source and {num_target} of the target"):
        domain_probe_accuracy(embeddings_of(len(domains)), domains, seed=0)


def test_domain_mean_cosine_matches_the_formula():
    embeddings, domains = embeddings_of(9), torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1])
    source = embeddings[[0, 3, 5, 6]].mean(dim=0)
    target = embeddings[[1, 2, 4, 7, 8]].mean(dim=0)
    expected = float(source @ target / source.norm() / target.norm())
    assert domain_mean_cosine(embeddings, domains) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num_images", [2, 3, 20])
def test_mean_pairwise_distance_matches_the_loop_over_pairs(num_images):
    embeddings = embeddings_of(num_images)
    distances = [
        1 - float(embeddings[i] @ embeddings[j])
        for i in range(num_images)
        for j in range(num_images)
        if i != j
    ]
    expected = sum(distances) / len(distances)
    assert mean_pairwise_distance(embeddings) == pytest.approx(expected, abs=1e-6)


def test_a_collapsed_embedding_and_a_single_image_have_no_distance():
    assert mean_pairwise_distance(normalize(torch.ones(5, 8), dim=1)) == pytest.approx(0, abs=1e-6)
    assert mean_pairwise_distance(embeddings_of(1)) == 0


def silhouette_by_hand(embeddings, groups):
    scores = []
    distance = (1 - embeddings @ embeddings.T).numpy()
    for i, group in enumerate(groups):
        if group < 0:
            continue
        own = [j for j, g in enumerate(groups) if g == group and j != i]
        if not own:
            scores.append(0.0)
            continue
        within = np.mean(distance[i, own])
        others = {g for g in groups if g >= 0 and g != group}
        nearest = min(
            np.mean([distance[i, j] for j, g in enumerate(groups) if g == other])
            for other in others
        )
        scores.append((nearest - within) / max(nearest, within))
    return np.mean(scores)


def test_silhouette_matches_the_loop_without_outliers():
    groups = np.array([0, 1, 2, 0, 1, -1, 0, 2, -1, 1, 3])
    embeddings = embeddings_of(len(groups))
    found = silhouette(embeddings, groups, seed=0)
    assert found == pytest.approx(silhouette_by_hand(embeddings, groups.tolist()), abs=1e-5)


def test_silhouette_of_a_sample_is_near_that_of_all_and_repeats_with_its_seed(monkeypatch):
    groups = np.arange(300) % 3
    embeddings = normalize(embeddings_of(300) + embeddings_of(3, seed=1)[groups], dim=1)
    whole = silhouette(embeddings, groups, seed=0)
    monkeypatch.setattr(diagnostics, "SILHOUETTE_IMAGES", 100)
    scores = [silhouette(embeddings, groups, seed=seed) for seed in (1, 1, 2)]
    assert scores[0] == scores[1] != scores[2]
    assert scores == pytest.approx([whole] * 3, abs=0.03)


def test_silhouette_of_groups_that_are_points_is_finite():
    embeddings = normalize(torch.ones(6, 4), dim=1)
    score = silhouette(embeddings, np.arange(6) % 2, seed=0)
    assert score is not None
    assert -1 <= score <= 1


@pytest.mark.parametrize("groups", [[0, 0, 0], [-1, -1, -1], [-1, 0, 0], [0, 1, 2]])
def test_silhouette_of_groups_that_have_none_is_none(groups):
    assert silhouette(embeddings_of(3), np.array(groups), seed=0) is None
