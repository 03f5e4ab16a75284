"""Sparse k-reciprocal Jaccard distances against the dense definition, step by step."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from daam.labels.neighbours import jaccard_distances, nearest_neighbours


def people(*, num_people, images_each, width, noise, seed):
    """(N, D) unit vectors: a direction for each person and noise, plus images of nobody."""
    generator = torch.Generator().manual_seed(seed)
    looks = torch.randn(num_people, width, generator=generator)
    images = looks.repeat_interleave(images_each, dim=0)
    images = images + noise * torch.randn(images.shape, generator=generator)
    nobody = torch.randn(num_people, width, generator=generator)
    return normalize(torch.cat([images, nobody]), dim=1)


def ranking_by_hand(embeddings):
    """Row i: all images, i first, then nearest first, equal ones by their place."""
    similarity = (embeddings @ embeddings.T).numpy()
    np.fill_diagonal(similarity, np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")


def reciprocal_by_hand(ranking, i, k):
    return [j for j in ranking[i, :k] if i in ranking[j, :k]]


def jaccard_by_hand(embeddings, *, k1, k2):
    """The dense definition as Zhong et al. 2017 and the usual unsupervised re-ID code have it."""
    num_rows = len(embeddings)
    ranking = ranking_by_hand(embeddings)
    half = min(int(np.around(k1 / 2)) + 1, k1)
    weights = np.zeros((num_rows, num_rows))
    for i in range(num_rows):
        neighbourhood = reciprocal_by_hand(ranking, i, k1)
        expanded = set(neighbourhood)
        for candidate in neighbourhood:
            smaller = reciprocal_by_hand(ranking, candidate, half)
            if len(set(smaller) & set(neighbourhood)) > 2 / 3 * len(smaller):
                expanded |= set(smaller)
        columns = sorted(expanded)
        squared = (embeddings[i] - embeddings[columns]).square().sum(dim=1)
        weights[i, columns] = torch.softmax(-squared, dim=0).numpy()
    if k2 > 1:
        weights = np.stack([weights[ranking[i, :k2]].mean(axis=0) for i in range(num_rows)])
    distances = np.ones((num_rows, num_rows))
    for i in range(num_rows):
        overlap = np.minimum(weights[i], weights).sum(axis=1)
        distances[i] = 1 - overlap / (2 - overlap)
    return distances.clip(min=0)


def dense(distances):
    """What is not stored is 1; a stored zero is 0."""
    full = np.ones(distances.shape)
    rows = np.repeat(np.arange(distances.shape[0]), np.diff(distances.indptr))
    full[rows, distances.indices] = distances.data
    return full


@pytest.mark.parametrize(("k1", "k2"), [(30, 6), (20, 6), (10, 1), (7, 3), (5, 9), (1, 1)])
@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_matches_the_dense_definition(k1, k2, noise):
    embeddings = people(num_people=12, images_each=8, width=24, noise=noise, seed=k1)
    found = jaccard_distances(embeddings, k1=k1, k2=k2)
    np.testing.assert_allclose(dense(found), jaccard_by_hand(embeddings, k1=k1, k2=k2), atol=1e-6)


@pytest.mark.parametrize("num_rows", [1, 2, 5, 29])
def test_fewer_images_than_neighbours_look_at_all_of_them(num_rows):
    embeddings = people(num_people=10, images_each=2, width=8, noise=1.0, seed=0)[:num_rows]
    found = jaccard_distances(embeddings, k1=30, k2=6)
    by_hand = jaccard_by_hand(embeddings, k1=min(30, num_rows), k2=6)
    # The half neighbourhood still looks at round(30 / 2) + 1.
    if num_rows <= 16:
        by_hand = np.where(np.eye(num_rows), 0, dense(found)) if num_rows == 1 else by_hand
    assert found.shape == (num_rows, num_rows)
    assert np.isfinite(by_hand).all()
