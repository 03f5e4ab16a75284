"""Pseudo-labels: groups of images that are probably one identity.

Shapes: N = images of the target's train split, D = embedding width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from daam.errors import TrainingError
from daam.neighbours import entries_per_row
from daam.pseudo_labels.jaccard import jaccard_distances

OUTLIER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabels:
    """The group of each image."""

    groups: NDArray[np.int64]
    """(N,), 0 to num_groups - 1, or -1 for an outlier."""
    num_groups: int
    outlier_share: float
    """Share of images in no group, 0 to 1; 0 without images."""


def pseudo_labels(
    embeddings: Tensor,
    *,
    k1: int,
    k2: int,
    eps: float,
    min_samples: int,
    tracks: NDArray[np.integer] | None = None,
) -> PseudoLabels:
    """Group images by the density of their k-reciprocal Jaccard distances.

    Deterministic: groups are numbered by their first core point; tracks that become groups of their
    own come last.

    Args:
        embeddings: (N, D), L2-normalised, on any device.
        k1: neighbours in a neighbourhood, at most N are used.
        k2: neighbours whose weights are averaged, at most N are used.
        eps: Jaccard distance up to which two images are neighbours, 0 to below 1.
        min_samples: images within eps, itself included, that make an image a core point.
        tracks: (N,), images of one track are put into one group, see `with_tracks`.

    Raises:
        TrainingError: an embedding is not finite.
    """
    if not torch.isfinite(embeddings).all():
        raise TrainingError(
            f"cannot group {len(embeddings)} images: an embedding is NaN or infinite; "
            "the weights have diverged, so lower the learning rate or the weights of the losses"
        )
    groups = group_by_density(
        jaccard_distances(embeddings, k1=k1, k2=k2, max_distance=eps),
        eps=eps,
        min_samples=min_samples,
    )
    if tracks is not None:
        groups = with_tracks(groups, tracks, min_samples=min_samples)
    return PseudoLabels(
        groups=groups,
        num_groups=int(groups.max(initial=OUTLIER)) + 1,
        outlier_share=float(np.mean(groups == OUTLIER)) if len(groups) > 0 else 0.0,
    )


def with_tracks(
    groups: NDArray[np.int64], tracks: NDArray[np.integer], *, min_samples: int
) -> NDArray[np.int64]:
    """(N,) groups in which all images of a track are together.

    A track joins the group of most of its grouped images. One without any becomes a group if it has
    `min_samples` images, which show one person, else it is left out.

    Args:
        groups: (N,) of each image, -1: outlier.
        tracks: (N,) numbers.
        min_samples: as for `pseudo_labels`.
    """
    _, track_N = np.unique(tracks, return_inverse=True)
    grouped = groups >= 0
    pairs, votes = np.unique(
        np.column_stack([track_N[grouped], groups[grouped]]), axis=0, return_counts=True
    )
    order = np.lexsort((pairs[:, 1], -votes, pairs[:, 0]))
    voting, first = np.unique(pairs[order, 0], return_index=True)
    sizes_T = np.bincount(track_N)
    group_T = np.full(len(sizes_T), OUTLIER)
    group_T[voting] = pairs[order[first], 1]
    alone = np.flatnonzero((group_T == OUTLIER) & (sizes_T >= min_samples))
    group_T[alone] = len(groups) + alone  # numbers that no group has
    known, numbered_N = np.unique(group_T[track_N], return_inverse=True)
    return (numbered_N - np.count_nonzero(known == OUTLIER)).astype(np.int64)


def group_by_density(
    distances: sparse.csr_array, *, eps: float, min_samples: int
) -> NDArray[np.int64]:
    """(N,) DBSCAN's group of each row, from 0 in order of first core points; -1: outlier.

    Args:
        distances: (N, N), symmetric; a stored zero is a distance of 0, an entry that is not
            stored is further than eps. The diagonal may be missing.
        eps: distance up to which two rows are neighbours.
        min_samples: neighbours, the row itself included, that make a row a core point.
    """
    from sklearn.cluster import DBSCAN  # takes 1.5 s, and the first epochs need no groups

    if len(entries_per_row(distances)) == 0:
        return np.empty(0, np.int64)
    near = _within(distances, eps=eps)
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(near)
    return found.labels_.astype(np.int64)


def _within(distances: sparse.csr_array, *, eps: float) -> sparse.csr_array:
    """A copy with the entries up to eps and a diagonal of zeros, each row sorted by distance.

    scikit-learn requires that order of a sparse graph.
    """
    num_entries = entries_per_row(distances)
    num_rows = len(num_entries)
    itself = np.arange(num_rows)
    rows = np.repeat(itself, num_entries)
    keep = (distances.data <= eps) & (rows != distances.indices)
    rows = np.concatenate([rows[keep], itself])
    columns = np.concatenate([distances.indices[keep], itself])
    values = np.concatenate([distances.data[keep], np.zeros(num_rows, distances.dtype)])
    order = np.lexsort((values, rows))
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_rows))])
    return sparse.csr_array((values[order], columns[order], starts), distances.shape)
