"""Scores without identities: against readable loops, then what they say of good and bad sets."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.metrics.label_free import (
    camera_share,
    group_agreement,
    mutual_across_cameras,
    nearest_across_cameras,
    neighbour_overlap,
    neighbourhood_density,
    one_camera_share,
    self_retrieval,
    track_agreement,
)

CAMERAS = np.arange(30) % 3
TRACKS = np.arange(30) // 3


def unit(num_images: int = 30, width: int = 6, *, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num_images, width, generator=generator), dim=1)


def others_by_similarity(embeddings: Tensor, row: int, allowed: np.ndarray) -> list[int]:
    similarity = (embeddings @ embeddings[row]).tolist()
    others = [other for other in np.flatnonzero(allowed).tolist() if other != row]
    return sorted(others, key=lambda other: -similarity[other])


def test_density_is_the_mean_entropy_of_the_softmax_over_the_others() -> None:
    embeddings = unit()
    entropies = []
    for row in range(30):
        similarity = [float(embeddings[row] @ embeddings[j]) / 0.05 for j in range(30) if j != row]
        weights = np.exp(np.array(similarity) - max(similarity))
        shares = weights / weights.sum()
        entropies.append(-sum(share * math.log(share) for share in shares))
    assert neighbourhood_density(embeddings) == pytest.approx(np.mean(entropies) / math.log(29))


def test_density_is_one_where_all_are_equally_near() -> None:
    assert neighbourhood_density(torch.eye(8)) == pytest.approx(1)
    assert neighbourhood_density(torch.eye(2)) is None


def test_overlap_counts_the_neighbours_that_both_embeddings_have() -> None:
    first, second = unit(), unit(seed=2)
    everyone = np.ones(30, bool)
    by_hand = np.mean(
        [
            len(
                set(others_by_similarity(first, row, everyone)[:4])
                & set(others_by_similarity(second, row, everyone)[:4])
            )
            / 4
            for row in range(30)
        ]
    )
    assert neighbour_overlap(first, second, k=4) == pytest.approx(by_hand)
    assert neighbour_overlap(first, first, k=4) == 1
    assert neighbour_overlap(first[:1], second[:1], k=4) is None


def test_a_changed_image_finds_its_own_original() -> None:
    embeddings = unit(1500)  # more than a tile
    assert self_retrieval(embeddings, embeddings) == 1
    assert self_retrieval(embeddings, embeddings.roll(1, dims=0)) == 0
    half = torch.cat([embeddings[:750], embeddings[750:].roll(1, dims=0)])
    assert self_retrieval(embeddings, half) == 0.5


def test_the_nearest_of_other_cameras_are_found() -> None:
    embeddings = unit()
    by_hand = [
        others_by_similarity(embeddings, row, CAMERAS[row] != CAMERAS)[:5] for row in range(30)
    ]
    found = nearest_across_cameras(embeddings, CAMERAS, k=5)
    assert found is not None
    assert found.tolist() == by_hand


def test_where_other_cameras_have_too_few_images_the_rest_is_empty() -> None:
    found = nearest_across_cameras(unit(4), np.array([1, 1, 1, 2]), k=3)
    assert found is not None
    assert found[:3].tolist() == [[3, -1, -1]] * 3
    assert sorted(found[3].tolist()) == [0, 1, 2]


def test_mutual_neighbours_name_each_other() -> None:
    embeddings = unit()
    hits = []
    for row in range(30):
        nearest = others_by_similarity(embeddings, row, CAMERAS[row] != CAMERAS)[0]
        back = others_by_similarity(embeddings, nearest, CAMERAS[nearest] != CAMERAS)[:2]
        hits.append(row in back)
    assert 0 < np.mean(hits) < 1
    assert mutual_across_cameras(embeddings, CAMERAS, k=2) == pytest.approx(np.mean(hits))


def test_scores_across_cameras_need_two() -> None:
    one = np.ones(30, int)
    assert nearest_across_cameras(unit(), one, k=2) is None
    assert mutual_across_cameras(unit(), one, k=2) is None
    assert camera_share(unit(), one, k=2) is None
    assert track_agreement(unit(), TRACKS, one, k=2) is None


def test_the_share_of_the_own_camera_is_above_chance() -> None:
    embeddings = unit()
    everyone = np.ones(30, bool)
    same = np.mean(
        [
            CAMERAS[other] == CAMERAS[row]
            for row in range(30)
            for other in others_by_similarity(embeddings, row, everyone)[:4]
        ]
    )
    chance = 9 / 29
    assert camera_share(embeddings, CAMERAS, k=4) == pytest.approx((same - chance) / (1 - chance))


def test_an_embedding_of_cameras_has_only_its_own_near() -> None:
    embeddings = F.normalize(torch.eye(3)[CAMERAS] + 0.01 * unit(width=3), dim=1)
    assert camera_share(embeddings, CAMERAS, k=4) == pytest.approx(1)


def test_groups_agree_whatever_their_numbers() -> None:
    groups = np.array([0, 0, 1, 1, 2, -1])
    assert group_agreement(groups, np.array([2, 2, 0, 0, 1, -1])) == 1
    assert group_agreement(groups, np.array([0, 1, 0, 1, 0, 1])) < 0.1


def test_outliers_are_not_a_group() -> None:
    # As one group of their own, the outliers would agree with the group that replaces them.
    nobody, together = np.full(6, -1), np.zeros(6, int)
    assert group_agreement(nobody, together) == 0
    assert group_agreement(nobody, nobody) == 1


def test_groups_of_one_camera_are_counted_and_single_images_are_not() -> None:
    groups = np.array([0, 0, 1, 1, 2, -1, -1])
    cameras = np.array([1, 1, 1, 2, 3, 4, 4])
    assert one_camera_share(groups, cameras) == 0.5
    assert one_camera_share(np.full(7, -1), cameras) is None


def test_images_of_a_track_are_compared_by_what_they_find_elsewhere() -> None:
    embeddings, tracks = unit(), np.arange(30) % 15
    cameras = tracks % 3
    shares = []
    for track in range(15):
        first, second = np.flatnonzero(tracks == track).tolist()
        ours = others_by_similarity(embeddings, first, cameras != cameras[first])[:3]
        theirs = others_by_similarity(embeddings, second, cameras != cameras[second])[:3]
        shares.append(len(set(ours) & set(theirs)) / 3)
    assert 0 < np.mean(shares) < 1
    found = track_agreement(embeddings, tracks, cameras, k=3)
    assert found == pytest.approx(np.mean(shares))
    assert track_agreement(embeddings, np.arange(30), cameras, k=3) is None
