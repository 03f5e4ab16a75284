"""Retrieval scores against a plain loop over a stable sort, and the protocol's corner cases."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from daam.errors import EvaluationError
from daam.metrics import ranks
from daam.metrics.labels import Labels
from daam.metrics.retrieval import (
    cosine_distances,
    ranked_gallery,
    retrieval_scores,
    retrieval_scores_from_embeddings,
)


def scores_by_hand(distances, labels, ranks=(1, 5, 10)):
    """One query after another: a stable sort, then the official code's walk down the list."""
    query, gallery = labels["query_labels"], labels["gallery_labels"]
    step, trapezoid, inp, found_by, left_out = [], [], [], [], 0
    for row, (identity, camera) in enumerate(zip(query.identities, query.cameras, strict=True)):
        hits = []
        for column in sorted(range(distances.shape[1]), key=lambda c: distances[row, c]):
            other, seen_by = gallery.identities[column], gallery.cameras[column]
            if other == -1 or (other == identity and seen_by == camera):
                continue
            hits.append(other == identity and identity > 0)
        if not any(hits):
            left_out += 1
            continue
        num_good, found, last, area, previous = sum(hits), 0, 0, 0.0, 1.0
        precisions = []
        for position, hit in enumerate(hits, start=1):
            found += hit
            precision = found / position
            if hit:
                precisions.append(precision)
                area += (previous + precision) / 2 / num_good
                last = position
            previous = precision
        step.append(np.mean(precisions))
        trapezoid.append(area)
        inp.append(num_good / last)
        found_by.append([any(hits[:k]) for k in ranks])
    return {
        "mean_average_precision": np.mean(step),
        "map_trapezoid": np.mean(trapezoid),
        "mean_inp": np.mean(inp),
        "cmc": dict(zip(ranks, np.mean(found_by, axis=0), strict=True)),
        "num_queries": len(distances),
        "num_left_out": left_out,
    }


def labels_of(*, query, gallery) -> dict[str, Any]:
    """Labels from (identity, camera) of each image."""
    return {
        f"{side}_labels": Labels(
            identities=np.array([identity for identity, _ in images]),
            cameras=np.array([camera for _, camera in images]),
        )
        for side, images in (("query", query), ("gallery", gallery))
    }


def random_labels(
    generator, *, num_queries, num_gallery, num_identities, num_cameras=3
) -> dict[str, Any]:
    """Distractors, junk, same-camera images and people who are in only one of the two."""
    return {
        "query_labels": Labels(
            identities=generator.integers(1, num_identities + 3, num_queries),
            cameras=generator.integers(1, num_cameras + 1, num_queries),
        ),
        "gallery_labels": Labels(
            identities=generator.integers(-1, num_identities + 1, num_gallery),
            cameras=generator.integers(1, num_cameras + 1, num_gallery),
        ),
    }


def assert_same(scores, by_hand):
    for name, expected in by_hand.items():
        assert getattr(scores, name) == pytest.approx(expected, abs=1e-12), name


# One query of person 1 by camera 1; the gallery in the order of its distance.
WORKED_EXAMPLE: dict[str, Any] = labels_of(  # junk, good, bad, good, bad, good
    query=[(1, 1)], gallery=[(1, 1), (1, 2), (2, 2), (1, 3), (2, 1), (1, 2)]
)


def test_scores_the_worked_example():
    scores = retrieval_scores([np.arange(6, dtype=np.float32)[None]], **WORKED_EXAMPLE)
    assert scores.mean_average_precision == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert scores.mean_average_precision == pytest.approx(0.7556, abs=5e-5)
    assert scores.map_trapezoid == pytest.approx(0.7111, abs=5e-5)
    assert scores.mean_inp == pytest.approx(0.6)
    assert scores.cmc == {1: 1.0, 5: 1.0, 10: 1.0}
    assert (scores.num_queries, scores.num_left_out) == (1, 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [None, 50, 4, 1])
def test_matches_a_loop_over_a_stable_sort(seed, levels):
    generator = np.random.default_rng(seed)
    labels = random_labels(generator, num_queries=20, num_gallery=90, num_identities=7)
    distances = generator.random((20, 90), dtype=np.float32)
    if levels is not None:  # few different distances: many ties
        distances = np.floor(distances * levels) / levels
    scores = retrieval_scores([distances], **labels)
    by_hand = scores_by_hand(distances, labels)
    assert by_hand["num_left_out"] > 0
    assert_same(scores, by_hand)


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize(
    "route", [{"MIN_IMAGES_TO_COUNT": 0}, {"MIN_IMAGES_TO_COUNT": 1 << 20}, {"MAX_SHARE_TO_CUT": 0}]
)
def test_every_route_gives_the_same_ranks(levels, route, monkeypatch):
    generator = np.random.default_rng(0)
    labels = random_labels(generator, num_queries=40, num_gallery=300, num_identities=60)
    distances = generator.random((40, 300), dtype=np.float32)
    distances[:20] *= (
        labels["query_labels"].identities[:20, None] != labels["gallery_labels"].identities
    )
    if levels is not None:
        distances = np.floor(distances * levels) / levels
    expected = scores_by_hand(distances, labels)
    assert_same(retrieval_scores([distances], **labels), expected)
    for name, value in route.items():
        monkeypatch.setattr(ranks, name, value)
    assert_same(retrieval_scores([distances], **labels), expected)


def test_distractors_are_wrong_and_junk_takes_no_rank():
    labels = labels_of(  # nobody, same camera, distractor, good
        query=[(5, 1)], gallery=[(-1, 2), (5, 1), (0, 2), (5, 2)]
    )
    scores = retrieval_scores([np.arange(4, dtype=np.float32)[None]], **labels, ranks=(1, 2))
    assert scores.mean_average_precision == pytest.approx(1 / 2)
    assert scores.cmc == {1: 0.0, 2: 1.0}


def test_other_people_from_the_same_camera_stay():
    labels = labels_of(query=[(5, 1)], gallery=[(6, 1), (5, 2)])
    scores = retrieval_scores([np.array([[0.1, 0.2]], np.float32)], **labels)
    assert scores.mean_average_precision == pytest.approx(1 / 2)


@pytest.mark.parametrize("identity", [0, -1])
def test_a_query_of_nobody_in_particular_is_left_out(identity):
    labels = labels_of(query=[(identity, 1), (5, 1)], gallery=[(identity, 2), (5, 2)])
    scores = retrieval_scores([np.zeros((2, 2), np.float32)], **labels)
    assert (scores.num_queries, scores.num_left_out) == (2, 1)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_embeddings_score_as_their_distances_do(chunk):
    generator = torch.Generator().manual_seed(3)
    labels = random_labels(
        np.random.default_rng(3), num_queries=20, num_gallery=60, num_identities=5
    )
    query = normalize(torch.randn(20, 8, generator=generator), dim=1)
    gallery = normalize(torch.randn(60, 8, generator=generator), dim=1)
    scores = retrieval_scores_from_embeddings(query, gallery, **labels, chunk=chunk)
    distances = cosine_distances(query, gallery).numpy()
    np.testing.assert_allclose(distances, 1 - query.numpy() @ gallery.numpy().T, atol=1e-6)
    assert scores == retrieval_scores([distances], **labels)


def test_chunks_that_do_not_cover_the_queries_are_an_error():
    two_queries = Labels(identities=np.array([1, 1]), cameras=np.array([1, 2]))
    labels: dict[str, Any] = WORKED_EXAMPLE | {"query_labels": two_queries}
    row = np.arange(6, dtype=np.float32)[None]
    assert retrieval_scores([row, row], **labels).num_queries == 2
    with pytest.raises(EvaluationError, match="end after 1 of 2 queries"):
        retrieval_scores([row], **labels)
    with pytest.raises(EvaluationError, match=r"from query 2 on.*labels for 2 queries"):
        retrieval_scores([row, row, row], **labels)


def test_the_distances_given_are_not_changed():
    distances = np.arange(6, dtype=np.float32)[None]
    distances.flags.writeable = False
    retrieval_scores([distances], **WORKED_EXAMPLE)


def test_no_query_with_a_good_image_is_an_error():
    one_camera = Labels(identities=np.ones(6, np.int64), cameras=np.ones(6, np.int64))
    labels: dict[str, Any] = WORKED_EXAMPLE | {"gallery_labels": one_camera}
    with pytest.raises(EvaluationError, match="none of 1 queries has a good image"):
        retrieval_scores([np.zeros((1, 6), np.float32)], **labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_distance_that_is_not_a_number_is_an_error(bad):
    distances = np.arange(6, dtype=np.float32)[None]
    distances[0, 3] = bad
    with pytest.raises(EvaluationError, match="NaN or infinite"):
        retrieval_scores([distances], **WORKED_EXAMPLE)


def test_labels_that_do_not_fit_are_an_error():
    with pytest.raises(EvaluationError, match=r"shape \(1, 5\).*1 queries and 6 gallery images"):
        retrieval_scores([np.zeros((1, 5), np.float32)], **WORKED_EXAMPLE)
    with pytest.raises(EvaluationError, match=r"shape \(1, 5\).*1 queries and 6 gallery images"):
        retrieval_scores_from_embeddings(
            torch.zeros(1, 4), torch.zeros(5, 4), **WORKED_EXAMPLE, chunk=8
        )
    with pytest.raises(EvaluationError, match="one identity and one camera per image"):
        Labels(identities=np.array([1]), cameras=np.array([1, 2]))


@pytest.mark.parametrize("count", [4, 7])  # the second is more than there are
def test_the_ranked_gallery_leaves_junk_out_and_knows_right_from_wrong(count):
    distances = np.arange(6, dtype=np.float32)[None]
    [ranked] = ranked_gallery(distances, **WORKED_EXAMPLE, count=count)
    assert ranked.columns.tolist() == [1, 2, 3, 4, 5][:count]
    assert ranked.correct.tolist() == [True, False, True, False, True][:count]


def without_cameras(labels: dict[str, Labels]) -> dict[str, Any]:
    return {
        side: Labels(identities=known.identities, cameras=None) for side, known in labels.items()
    }


def test_without_cameras_the_query_s_own_camera_is_no_junk():
    """Every image of the person is good: as if no query shared a camera with the gallery."""
    generator = np.random.default_rng(0)
    labels = random_labels(generator, num_queries=20, num_gallery=90, num_identities=8)
    distances = generator.random((20, 90), dtype=np.float32)
    elsewhere = Labels(identities=labels["query_labels"].identities, cameras=np.full(20, 99))
    expected = scores_by_hand(distances, labels | {"query_labels": elsewhere})
    assert_same(retrieval_scores([distances], **without_cameras(labels)), expected)
    one_sided = labels | {"query_labels": without_cameras(labels)["query_labels"]}
    assert_same(retrieval_scores([distances], **one_sided), expected)


def test_a_ranked_list_without_cameras_keeps_the_query_s_own_camera():
    distances = np.arange(6, dtype=np.float32)[None]
    (ranked,) = ranked_gallery(distances, **without_cameras(WORKED_EXAMPLE))
    assert ranked.columns.tolist() == [0, 1, 2, 3, 4, 5]
    assert ranked.correct.tolist() == [True, True, False, True, False, True]
