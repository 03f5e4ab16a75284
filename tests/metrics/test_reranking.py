"""Re-ranked distances against the published dense algorithm, step by step."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from daam import neighbours
from daam.errors import EvaluationError
from daam.metrics.labels import Labels
from daam.metrics.reranking import reranked_chunks, reranked_scores
from daam.metrics.retrieval import retrieval_scores, retrieval_scores_from_embeddings


def people(*, num_people, images_each, width, noise, seed):
    """Query, gallery and labels: an image of everybody is a query; distractors in the gallery."""
    generator = torch.Generator().manual_seed(seed)
    looks = torch.randn(num_people, width, generator=generator)
    images = looks.repeat_interleave(images_each, dim=0)
    images = images + noise * torch.randn(images.shape, generator=generator)
    nobody = torch.randn(num_people, width, generator=generator)
    embeddings = normalize(torch.cat([images, nobody]), dim=1)
    identities = np.concatenate(
        [np.arange(1, num_people + 1).repeat(images_each), np.zeros(num_people, np.int64)]
    )
    cameras = np.arange(len(identities)) % images_each
    asked = (cameras == 0) & (identities > 0)
    labels: dict[str, Any] = {
        "query_labels": Labels(identities=identities[asked], cameras=cameras[asked]),
        "gallery_labels": Labels(identities=identities[~asked], cameras=cameras[~asked]),
    }
    rows = torch.from_numpy(asked)
    return embeddings[rows], embeddings[~rows], labels


def reranked_distances(query, gallery, **settings):
    return np.concatenate(list(reranked_chunks(query, gallery, **settings, chunk=256)))


def reranked_by_hand(query, gallery, *, k1, k2, weight):
    """Zhong et al. 2017 as published: dense, over all queries and gallery images."""
    embeddings = torch.cat([query, gallery]).double()
    num_rows, num_queries = len(embeddings), len(query)
    squared = torch.cdist(embeddings, embeddings).square().numpy()
    np.fill_diagonal(squared, 0)
    squared = squared / squared.max(axis=1, keepdims=True)
    ranking = np.argsort(squared, axis=1, kind="stable")

    def reciprocal(i, k):
        return [j for j in ranking[i, : k + 1] if i in ranking[j, : k + 1]]

    weights = np.zeros((num_rows, num_rows))
    for i in range(num_rows):
        neighbourhood = reciprocal(i, k1)
        expanded = set(neighbourhood)
        for candidate in neighbourhood:
            smaller = reciprocal(candidate, int(np.around(k1 / 2)))
            if len(set(smaller) & set(neighbourhood)) > 2 / 3 * len(smaller):
                expanded |= set(smaller)
        columns = sorted(expanded)
        similar = np.exp(-squared[i, columns])
        weights[i, columns] = similar / similar.sum()
    if k2 != 1:
        weights = np.stack([weights[ranking[i, :k2]].mean(axis=0) for i in range(num_rows)])
    jaccard = np.empty((num_queries, num_rows))
    for i in range(num_queries):
        overlap = np.minimum(weights[i], weights).sum(axis=1)
        jaccard[i] = 1 - overlap / (2 - overlap)
    return ((1 - weight) * jaccard + weight * squared[:num_queries])[:, num_queries:]


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 3), (10, 1), (3, 8), (1, 1)])
@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("weight", [0.3, 0.0])
def test_matches_the_published_dense_algorithm(k1, k2, noise, weight, monkeypatch):
    query, gallery, _ = people(num_people=12, images_each=8, width=24, noise=noise, seed=k1)
    monkeypatch.setattr(neighbours, "TILE_ROWS", 37)
    found = reranked_distances(query, gallery, k1=k1, k2=k2, weight=weight)
    expected = reranked_by_hand(query, gallery, k1=k1, k2=k2, weight=weight)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fewer_images_than_neighbours_is_allowed():
    query, gallery, _ = people(num_people=2, images_each=3, width=8, noise=0.3, seed=0)
    found = reranked_distances(query, gallery, k1=20, k2=6, weight=0.3)
    expected = reranked_by_hand(query, gallery, k1=20, k2=6, weight=0.3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_with_a_weight_of_one_the_order_is_the_plain_one():
    query, gallery, labels = people(num_people=10, images_each=6, width=16, noise=1.0, seed=1)
    plain = retrieval_scores_from_embeddings(query, gallery, **labels, chunk=8)
    assert reranked_scores(query, gallery, **labels, chunk=8, weight=1.0) == plain


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_are_the_rows_of_the_whole(chunk):
    query, gallery, labels = people(num_people=10, images_each=6, width=16, noise=1.0, seed=2)
    whole = reranked_distances(query, gallery, k1=20, k2=6, weight=0.3)
    chunks = list(reranked_chunks(query, gallery, k1=20, k2=6, weight=0.3, chunk=chunk))
    assert {len(rows) for rows in chunks[:-1]} <= {chunk}
    np.testing.assert_allclose(np.concatenate(chunks), whole, atol=1e-6)
    scores = reranked_scores(query, gallery, **labels, chunk=chunk)
    assert scores.mean_average_precision == pytest.approx(
        retrieval_scores([whole], **labels).mean_average_precision, abs=1e-6
    )


def test_neighbours_that_agree_raise_the_scores():
    query, gallery, labels = people(num_people=30, images_each=8, width=16, noise=1.0, seed=3)
    plain = retrieval_scores_from_embeddings(query, gallery, **labels, chunk=32)
    reranked = reranked_scores(query, gallery, **labels, chunk=32)
    assert reranked.mean_average_precision > plain.mean_average_precision + 0.02


def test_images_that_are_all_one_are_all_equally_near():
    one = normalize(torch.ones(8, 4), dim=1)
    found = reranked_distances(one[:3], one[3:], k1=20, k2=6, weight=0.3)
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_embeddings_without_labels_are_an_error():
    query, gallery, labels = people(num_people=3, images_each=3, width=8, noise=0.3, seed=0)
    with pytest.raises(EvaluationError, match=r"shape \(3, 8\).*3 queries and 9 gallery images"):
        reranked_scores(query, gallery[:-1], **labels, chunk=8)
