"""Sparse k-reciprocal Jaccard distances against the dense definition, step by step."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import DBSCAN
from torch.nn.functional import normalize

from daam import neighbours
from daam.neighbours import nearest_neighbours
from daam.pseudo_labels import jaccard
from daam.pseudo_labels.grouping import pseudo_labels
from daam.pseudo_labels.jaccard import jaccard_distances


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
@pytest.mark.parametrize("tile", [13, 2048])
def test_matches_the_dense_definition(k1, k2, noise, tile, monkeypatch):
    monkeypatch.setattr(neighbours, "TILE_ROWS", tile)
    embeddings = people(num_people=12, images_each=8, width=24, noise=noise, seed=k1)
    found = jaccard_distances(embeddings, k1=k1, k2=k2)
    np.testing.assert_allclose(dense(found), jaccard_by_hand(embeddings, k1=k1, k2=k2), atol=1e-6)


SETS = {
    "separate people": people(num_people=20, images_each=8, width=32, noise=0.3, seed=1),
    "people who overlap": people(num_people=20, images_each=8, width=16, noise=0.8, seed=2),
    "mostly outliers": people(num_people=60, images_each=2, width=8, noise=1.0, seed=3),
    "nobody": normalize(torch.randn(150, 6, generator=torch.Generator().manual_seed(4)), dim=1),
    "two of each image": people(
        num_people=10, images_each=7, width=16, noise=0.8, seed=5
    ).repeat_interleave(2, dim=0),
    "one image many times": normalize(torch.ones(40, 8), dim=1),
    "few directions": normalize(torch.eye(6).repeat(15, 1), dim=1),
    "three images": people(num_people=1, images_each=2, width=8, noise=0.3, seed=6),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("k1", "k2"), [(30, 6), (10, 3)])
def test_groups_are_those_of_the_dense_definition(name, k1, k2, monkeypatch):
    monkeypatch.setattr(neighbours, "TILE_ROWS", 37)
    distances = jaccard_by_hand(SETS[name], k1=k1, k2=k2)
    for eps in (0.4, 0.6):
        expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(distances)
        found = pseudo_labels(SETS[name], k1=k1, k2=k2, eps=eps, min_samples=4)
        np.testing.assert_array_equal(found.groups, expected)


@pytest.mark.parametrize("num_rows", [1, 2, 5, 29])
def test_fewer_images_than_neighbours_look_at_all_of_them(num_rows):
    embeddings = people(num_people=10, images_each=2, width=8, noise=1.0, seed=0)[:num_rows]
    found = jaccard_distances(embeddings, k1=30, k2=6)
    np.testing.assert_allclose(dense(found), jaccard_by_hand(embeddings, k1=30, k2=6), atol=1e-6)


def test_copies_of_an_image_are_at_distance_zero_and_stored():
    embeddings = people(num_people=8, images_each=3, width=16, noise=1.0, seed=0)
    copied = torch.cat([embeddings, embeddings[:1], embeddings[:1]])
    found = jaccard_distances(copied, k1=3, k2=1)
    np.testing.assert_allclose(dense(found), jaccard_by_hand(copied, k1=3, k2=1), atol=1e-6)
    assert dense(found)[0, -1] == pytest.approx(0, abs=1e-6)
    assert dense(found)[-1, -2] == pytest.approx(0, abs=1e-6)


def test_more_copies_than_neighbours_rank_by_row():
    embeddings = normalize(torch.ones(40, 8), dim=1)
    assert nearest_neighbours(embeddings, k=3).rows_Nk[[0, 1, 9]].tolist() == [
        [0, 1, 2],
        [1, 0, 2],
        [9, 0, 1],
    ]
    found = jaccard_distances(embeddings, k1=10, k2=3)
    np.testing.assert_allclose(dense(found), jaccard_by_hand(embeddings, k1=10, k2=3), atol=1e-6)


@pytest.mark.parametrize("tile", [1, 4, 7, 16, 100])
@pytest.mark.parametrize("k", [1, 3, 10, 50])
def test_ties_rank_by_row_whatever_the_tile(tile, k, monkeypatch):
    # Whole numbers: their products are exact, so equal pairs are equal to the bit in any tile.
    generator = torch.Generator().manual_seed(tile + k)
    embeddings = torch.randint(-1, 2, (50, 4), generator=generator).float()
    monkeypatch.setattr(neighbours, "TILE_ROWS", tile)
    expected = ranking_by_hand(embeddings)[:, :k]
    np.testing.assert_array_equal(nearest_neighbours(embeddings, k=k).rows_Nk, expected)


@pytest.mark.parametrize("tile", [1, 7, 100])
def test_the_furthest_image_is_found_if_asked_for(tile, monkeypatch):
    embeddings = people(num_people=6, images_each=5, width=16, noise=1.0, seed=4)
    monkeypatch.setattr(neighbours, "TILE_ROWS", tile)
    furthest = nearest_neighbours(embeddings, k=3, furthest=True).furthest_N
    expected = (embeddings @ embeddings.T).amin(dim=1).numpy()
    np.testing.assert_allclose(furthest, expected, atol=1e-6)
    assert np.isnan(nearest_neighbours(embeddings, k=3).furthest_N).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same_distances():
    embeddings = people(num_people=30, images_each=20, width=64, noise=1.0, seed=0)
    on_cpu, on_gpu = (
        jaccard_distances(embeddings.to(device), k1=20, k2=6) for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(dense(on_gpu), dense(on_cpu), atol=1e-5)


def test_neighbours_come_nearest_first_whatever_the_chunk(monkeypatch):
    embeddings = people(num_people=6, images_each=5, width=16, noise=1.0, seed=4)
    expected = ranking_by_hand(embeddings)[:, :7]
    np.testing.assert_array_equal(nearest_neighbours(embeddings, k=7).rows_Nk, expected)
    monkeypatch.setattr(neighbours, "TILE_ROWS", 5)
    np.testing.assert_array_equal(nearest_neighbours(embeddings, k=7).rows_Nk, expected)


def test_the_result_does_not_depend_on_how_the_work_is_cut(monkeypatch):
    embeddings = people(num_people=12, images_each=8, width=24, noise=1.0, seed=0)
    whole = jaccard_distances(embeddings, k1=15, k2=4)
    monkeypatch.setattr(jaccard, "OVERLAP_CHUNK_TERMS", 1)
    monkeypatch.setattr(neighbours, "WEIGHT_CHUNK_ENTRIES", 7 * 24)
    in_pieces = jaccard_distances(embeddings, k1=15, k2=4)
    np.testing.assert_allclose(dense(in_pieces), dense(whole), atol=1e-6)


def test_the_same_embeddings_give_the_same_bits():
    embeddings = people(num_people=12, images_each=8, width=24, noise=1.0, seed=0)
    first, second = (jaccard_distances(embeddings, k1=15, k2=4) for _ in range(2))
    np.testing.assert_array_equal(dense(first), dense(second))


def test_the_graph_is_symmetric_with_a_diagonal_of_stored_zeros_and_nothing_from_one_up():
    embeddings = people(num_people=12, images_each=8, width=24, noise=1.0, seed=1)
    found = jaccard_distances(embeddings, k1=15, k2=4)
    full = dense(found)
    np.testing.assert_array_equal(full, full.T)
    assert (np.diag(full) == 0).all()
    assert found.data.min() >= 0
    assert found.data.max() < 1


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("limit", [0.0, 0.1, 0.4, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("tail_share", [0.2, 0.8, 0.99])
def test_a_limit_leaves_out_what_is_further_and_changes_no_bit_else(
    name, limit, tail_share, monkeypatch
):
    monkeypatch.setattr(jaccard, "TAIL_SHARE", tail_share)
    monkeypatch.setattr(jaccard, "PAIR_CHUNK", 50)
    full = dense(jaccard_distances(SETS[name], k1=15, k2=4))
    limited = jaccard_distances(SETS[name], k1=15, k2=4, max_distance=limit)
    near = full <= np.float32(limit)
    np.testing.assert_array_equal(dense(limited), np.where(near, full, 1))
    assert limited.nnz == near.sum()


def test_a_limit_keeps_the_pairs_right_at_it_whose_shared_weights_are_all_in_a_tail():
    """Two rows that share one column alone, the most frequent one, with just enough weight."""
    limit = 0.6
    shared = 2 * (1 - limit) / (2 - limit) + 1e-6
    others = np.zeros((40, 44))
    others[:, 0], others[np.arange(40), 4 + np.arange(40)] = 0.2, 0.8  # column 0 is the common one
    pair = np.zeros((2, 44))
    pair[:, 0], pair[[0, 1], [1, 2]] = shared, 1 - shared
    apart = np.tile(np.eye(1, 44, k=3), (2, 1))
    weights = sparse.csr_array(np.concatenate([others, pair, apart]).astype(np.float32))
    found = jaccard._distances_from_overlap(weights, max_distance=limit)
    assert sorted(found.indices[found.indptr[40] : found.indptr[41]]) == [40, 41]


def test_no_image_gives_an_empty_graph():
    assert jaccard_distances(torch.zeros(0, 8), k1=30, k2=6).shape == (0, 0)
