"""Groups of images that are probably one person: the pseudo-labels of an unlabelled domain.

Shapes: N = images of the target's train split, D = embedding width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import DBSCAN
from torch import Tensor

from daam.errors import TrainingError
from daam.neighbours import entries_per_row
from daam.pseudo_labels.jaccard import jaccard_distances

OUTLIER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabels:
    """Which group each image belongs to."""

    groups: NDArray[np.int64]
    """(N,), 0 to num_groups - 1, or -1 for an outlier."""
    num_groups: int
    outlier_share: float
    """Share of images in no group, 0 to 1; 0 without images."""


def pseudo_labels(
    embeddings: Tensor, *, k1: int, k2: int, eps: float, min_samples: int
) -> PseudoLabels:
    """Group images by the density of their k-reciprocal Jaccard distances.

    The same embeddings give the same groups, numbered by the first image that is a core.

    Args:
        embeddings: (N, D), L2-normalised, on any device.
        k1: neighbours in a neighbourhood; N where N is smaller.
        k2: neighbours whose weights are averaged; N where N is smaller.
        eps: Jaccard distance, 0 to below 1, up to which two images are neighbours.
        min_samples: images within eps (itself included) that make an image the core of a group.

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
    return PseudoLabels(
        groups=groups,
        num_groups=int(groups.max(initial=OUTLIER)) + 1,
        outlier_share=float(np.mean(groups == OUTLIER)) if len(groups) > 0 else 0.0,
    )


def group_by_density(
    distances: sparse.csr_array, *, eps: float, min_samples: int
) -> NDArray[np.int64]:
    """(N,) DBSCAN's group of each row, numbered by their first cores from 0; -1 an outlier.

    Args:
        distances: (N, N), symmetric; a stored zero is a distance of 0, what is not stored is
            further than eps. The diagonal may be stored or not.
        eps: distance up to which two rows are neighbours.
        min_samples: neighbours (the row itself included) that make a row the core of a group.
    """
    if len(entries_per_row(distances)) == 0:
        return np.empty(0, np.int64)
    near = _within(distances, eps=eps)
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(near)
    return found.labels_.astype(np.int64)


def _within(distances: sparse.csr_array, *, eps: float) -> sparse.csr_array:
    """A copy with the entries up to eps and every row at distance 0 from itself, nearest first.

    (The order within a row is what scikit-learn asks of a graph of distances.)
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
