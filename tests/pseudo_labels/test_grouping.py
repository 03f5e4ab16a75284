"""Groups against DBSCAN written out, and against the people behind well separated images."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import DBSCAN
from torch.nn.functional import normalize

from daam.errors import TrainingError
from daam.pseudo_labels.grouping import group_by_density, pseudo_labels, with_tracks
from daam.pseudo_labels.jaccard import jaccard_distances


def groups_by_hand(distances, eps, min_samples):
    """Ester et al. 1996: grow a group from each core row that has none yet."""
    near = [np.flatnonzero(row <= eps) for row in distances]
    groups = np.full(len(distances), -1)
    next_group = 0
    for seed in range(len(distances)):
        if groups[seed] >= 0 or len(near[seed]) < min_samples:
            continue
        groups[seed] = next_group
        to_visit = [seed]
        while to_visit:
            row = to_visit.pop()
            if len(near[row]) < min_samples:
                continue
            for other in near[row].tolist():
                if groups[other] < 0:
                    groups[other] = next_group
                    to_visit.append(other)
        next_group += 1
    return groups


def random_distances(seed, *, num_rows=60):
    """Of points on a line, so that groups have borders; some points coincide."""
    generator = np.random.default_rng(seed)
    points = np.round(generator.random(num_rows), 2)
    return np.abs(points[:, None] - points[None, :]).astype(np.float32)


def stored(distances, *, up_to, diagonal):
    """A graph with explicit entries, zeros included."""
    keep = (distances <= up_to) & (diagonal | ~np.eye(len(distances), dtype=bool))
    rows, columns = np.nonzero(keep)
    return sparse.csr_array((distances[keep], (rows, columns)), distances.shape)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("min_samples", [1, 2, 4])
@pytest.mark.parametrize("diagonal", [True, False])
def test_matches_dbscan_by_hand(seed, min_samples, diagonal):
    distances = random_distances(seed)
    graph = stored(distances, up_to=0.5, diagonal=diagonal)
    found = group_by_density(graph, eps=0.0151, min_samples=min_samples)
    np.testing.assert_array_equal(found, groups_by_hand(distances, 0.0151, min_samples))
    assert found.dtype == np.int64


def test_the_graph_given_is_not_changed():
    graph = stored(random_distances(0), up_to=0.5, diagonal=True)
    before = graph.copy()
    group_by_density(graph, eps=0.02, min_samples=2)
    np.testing.assert_array_equal(graph.data, before.data)
    np.testing.assert_array_equal(graph.indices, before.indices)


def test_rows_at_distance_zero_belong_together():
    zeros = np.zeros((5, 5), np.float32)
    found = group_by_density(stored(zeros, up_to=0.5, diagonal=False), eps=0.1, min_samples=4)
    assert found.tolist() == [0, 0, 0, 0, 0]


def images(*, num_people, images_each, num_outliers, noise=0.2, width=64, seed=0):
    """Shuffled unit vectors and who is in them; -1 for people seen once."""
    generator = torch.Generator().manual_seed(seed)
    looks = torch.randn(num_people, width, generator=generator).repeat_interleave(images_each, 0)
    seen = looks + noise * torch.randn(looks.shape, generator=generator)
    alone = torch.randn(num_outliers, width, generator=generator)
    people = [p for p in range(num_people) for _ in range(images_each)] + [-1] * num_outliers
    order = torch.randperm(len(people), generator=generator)
    return normalize(torch.cat([seen, alone]), dim=1)[order], np.array(people)[order.numpy()]


def test_well_separated_people_become_groups():
    embeddings, people = images(num_people=10, images_each=12, num_outliers=8)
    found = pseudo_labels(embeddings, k1=10, k2=3, eps=0.6, min_samples=4)
    pairs = set(zip(found.groups[people >= 0].tolist(), people[people >= 0].tolist(), strict=True))
    assert sorted(group for group, _ in pairs) == list(range(10))
    assert sorted(person for _, person in pairs) == list(range(10))
    assert found.num_groups == 10


def test_the_outlier_share_counts_images_without_a_group():
    embeddings, _ = images(num_people=10, images_each=12, num_outliers=60, width=16)
    found = pseudo_labels(embeddings, k1=10, k2=3, eps=0.4, min_samples=4)
    assert 0 < found.outlier_share < 1
    assert found.outlier_share == sum(group == -1 for group in found.groups.tolist()) / 180
    assert found.num_groups == len(set(found.groups.tolist()) - {-1})


def test_groups_are_numbered_by_their_first_core_and_stay_so():
    # Row 0 is a border of the group of rows 4 to 6; rows 1 to 3 have the first core.
    points = np.array([5.9, 1.0, 1.1, 1.2, 5.0, 5.1, 5.2])
    distances = np.abs(points[:, None] - points[None, :]).astype(np.float32)
    graph = stored(distances, up_to=0.75, diagonal=True)
    found = group_by_density(graph, eps=0.75, min_samples=3)
    assert found.tolist() == [1, 0, 0, 0, 1, 1, 1]
    embeddings, _ = images(num_people=10, images_each=12, num_outliers=8)
    first, again = (
        pseudo_labels(embeddings, k1=10, k2=3, eps=0.6, min_samples=4) for _ in range(2)
    )
    np.testing.assert_array_equal(first.groups, again.groups)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("noise", "width"), [(0.2, 64), (1.0, 16), (1.5, 8)])
def test_groups_are_those_of_dbscan_on_dense_distances(noise, width, seed):
    embeddings, _ = images(
        num_people=12, images_each=10, num_outliers=40, noise=noise, width=width, seed=seed
    )
    graph = jaccard_distances(embeddings, k1=12, k2=4)
    dense = np.ones((len(embeddings), len(embeddings)))
    rows = np.repeat(np.arange(len(dense)), np.diff(graph.indptr))
    dense[rows, graph.indices] = graph.data
    for eps in (0.3, 0.5, 0.7):
        expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(dense)
        found = pseudo_labels(embeddings, k1=12, k2=4, eps=eps, min_samples=4)
        np.testing.assert_array_equal(found.groups, expected)


@pytest.mark.parametrize("num_images", [1, 2, 3])
def test_too_few_images_for_a_group_are_all_outliers(num_images):
    embeddings, _ = images(num_people=1, images_each=num_images, num_outliers=0)
    found = pseudo_labels(embeddings, k1=30, k2=6, eps=0.6, min_samples=4)
    assert found.groups.tolist() == [-1] * num_images
    assert (found.num_groups, found.outlier_share) == (0, 1.0)


def test_equal_embeddings_are_one_group():
    found = pseudo_labels(normalize(torch.ones(20, 8), dim=1), k1=30, k2=6, eps=0.6, min_samples=4)
    assert (found.num_groups, found.outlier_share) == (1, 0.0)


def test_no_image_gives_no_group():
    found = pseudo_labels(torch.zeros(0, 8), k1=30, k2=6, eps=0.6, min_samples=4)
    assert (len(found.groups), found.num_groups, found.outlier_share) == (0, 0, 0.0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_embedding_that_is_not_finite_is_an_error(bad):
    embeddings, _ = images(num_people=2, images_each=6, num_outliers=0)
    embeddings[3, 5] = bad
    with pytest.raises(TrainingError, match="12 images: an embedding is NaN or infinite"):
        pseudo_labels(embeddings, k1=10, k2=3, eps=0.6, min_samples=4)


def tracks_by_hand(groups: list[int], tracks: list[int], *, min_samples: int) -> list[set[int]]:
    """The images of each group, and those of no group."""
    members: dict[object, set[int]] = {}
    for track in sorted(set(tracks)):
        images = [at for at, other in enumerate(tracks) if other == track]
        votes = [groups[at] for at in images if groups[at] >= 0]
        group: object = "none"
        if votes:
            group = min(set(votes), key=lambda vote: (-votes.count(vote), vote))
        elif len(images) >= min_samples:
            group = ("track", track)
        members.setdefault(group, set()).update(images)
    nobody = members.pop("none", set())
    return [nobody, *sorted(members.values(), key=min)]


@pytest.mark.parametrize("seed", range(8))
def test_tracks_are_kept_together_as_the_loop_does(seed):
    generator = np.random.default_rng(seed)
    groups = generator.integers(-1, 4, 40)
    tracks = 7 * generator.integers(0, [1, 3, 12, 40][seed % 4], 40)
    found = with_tracks(groups, tracks, min_samples=3)
    nobody = set(np.flatnonzero(found < 0).tolist())
    of_groups = [set(np.flatnonzero(found == g).tolist()) for g in range(found.max() + 1)]
    expected = tracks_by_hand(groups.tolist(), tracks.tolist(), min_samples=3)
    assert [nobody, *sorted(of_groups, key=min)] == expected
    assert found.dtype == np.int64


def test_without_a_group_a_track_is_one_and_a_single_image_is_none():
    groups = np.full(7, -1)
    tracks = np.array([5, 5, 5, 5, 8, 9, 9])
    assert with_tracks(groups, tracks, min_samples=4).tolist() == [0, 0, 0, 0, -1, -1, -1]


def test_tracks_join_what_density_alone_leaves_apart():
    """Two people, each in two tracks of which one image is far from all others."""
    generator = np.random.default_rng(0)
    people = np.repeat([0, 1], 12)
    looks = np.eye(8)[people] + 0.05 * generator.normal(size=(24, 8))
    looks[[0, 12]] = np.eye(8)[[4, 5]]
    embeddings = torch.nn.functional.normalize(torch.tensor(looks, dtype=torch.float32), dim=1)
    settings = {"k1": 8, "k2": 2, "eps": 0.5, "min_samples": 3}
    alone = pseudo_labels(embeddings, **settings)
    assert alone.groups[0] == alone.groups[12] == -1
    together = pseudo_labels(embeddings, **settings, tracks=np.arange(24) // 6)
    assert together.groups.tolist() == people.tolist()
    assert (together.num_groups, together.outlier_share) == (2, 0.0)
