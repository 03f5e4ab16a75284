"""k-reciprocal Jaccard distance between images, as a sparse graph.

Nothing here is N x N: what two images do not share costs nothing, and the cost beside that of the
search for neighbours grows with the number of pairs that share one. Shapes: N = images,
D = embedding width.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

from daam.neighbours import nearest_neighbours, reciprocal_weights, starts_of

# Shared neighbours summed at once: a few arrays of 1 to 2 MiB, which a core's cache holds.
OVERLAP_CHUNK_TERMS = 1 << 18


def jaccard_distances(
    embeddings: Tensor, *, k1: int, k2: int, max_distance: float = 1.0
) -> sparse.csr_array:
    """(N, N) symmetric float32 distances below 1; what is not stored is 1.

    Source: Zhong et al. 2017, arXiv:1701.08398, sections 3.2 to 3.4, with the neighbourhoods that
    unsupervised re-ID settled on: R(i) is the images that have i among their k1 nearest and are
    among the k1 nearest of i (an image is its own first neighbour; equally near ones rank by row);
    R*(i) adds every R_half(c), c in R(i), of which more than two thirds lie in R(i), where R_half
    looks at round(k1 / 2) + 1 neighbours. Weights of i are softmax(-|z_i - z_j|^2) over R*(i),
    averaged over the k2 nearest of i. With m_ij the sum over c of the smaller weight:
    d_ij = 1 - m_ij / (2 - m_ij).

    The diagonal is stored, as zeros. Fewer images than k1 or k2 is allowed: each looks at all of
    them.

    Args:
        embeddings: (N, D), L2-normalised, on any device; computed in float32.
        k1: neighbours in a neighbourhood, itself included; 1 or more.
        k2: neighbours whose weights are averaged, itself included; 1 turns averaging off.
        max_distance: larger distances are not stored. Noisy embeddings share a little with nearly
            everything, so a limit is what keeps the result small.
    """
    if len(embeddings) == 0:
        return sparse.csr_array((0, 0), dtype=np.float32)
    embeddings = embeddings.detach().float()
    weights = reciprocal_weights(
        embeddings,
        nearest_neighbours(embeddings, k=max(k1, k2)),
        k1=k1,
        k2=k2,
        half=round(k1 / 2) + 1,
    )
    return _distances_from_overlap(weights, max_distance=max_distance)


def _distances_from_overlap(weights: sparse.csr_array, *, max_distance: float) -> sparse.csr_array:
    """1 - m / (2 - m) for every pair of rows whose weights overlap, m the sum of smaller weights.

    (The weights of a row sum to 1, so the larger ones of two rows sum to 2 - m.)
    """
    blocks = []
    for overlap in _overlap_with_later_rows(weights):
        distance = _distance(overlap.data)
        overlap.data[(distance >= 1) | (distance > max_distance)] = 0
        overlap.eliminate_zeros()
        blocks.append(overlap)
    one_sided = sparse.vstack(blocks, format="csr")
    itself = _identity(_num_rows(weights))
    # Symmetric before it becomes a distance: scipy's sums drop zeros, and zero is near.
    symmetric = (one_sided + one_sided.T + itself).tocsr()
    symmetric.data = _distance(symmetric.data)
    return symmetric


def _distance(overlap: ArrayLike) -> NDArray[np.float32]:
    overlap = np.asarray(overlap, np.float32)
    return np.maximum(1 - overlap / (2 - overlap), 0)


def _overlap_with_later_rows(weights: sparse.csr_array) -> Iterator[sparse.csr_array]:
    """Sums of smaller weights of each row with the rows below it, a few rows at a time.

    Each stored weight (i, c) meets the weights of column c that stand below row i. One such meeting
    is a term, and the terms of a row are added up by the column of the result they belong to.
    """
    num_rows, num_weights = _num_rows(weights), weights.nnz
    offsets = starts_of(weights)
    numbered = sparse.csr_array((np.arange(num_weights), weights.indices, offsets), weights.shape)
    by_column = numbered.tocsc()  # its data: which weight stands at each place of column order
    row_at_place = by_column.indices
    which = np.asarray(by_column.data, np.int64)
    weight_at_place = weights.data[which]
    place = np.empty(num_weights, np.int64)
    place[which] = np.arange(num_weights)
    num_below = starts_of(by_column)[1:][weights.indices] - place - 1
    terms_before = np.concatenate([[0], np.cumsum(num_below)])
    terms_before_row = terms_before[offsets]

    add_up = _identity(num_rows)
    start = 0
    while start < num_rows:
        limit = terms_before_row[start] + OVERLAP_CHUNK_TERMS
        stop = max(start + 1, int(np.searchsorted(terms_before_row, limit, side="right")) - 1)
        mine = slice(offsets[start], offsets[stop])
        first_term = terms_before_row[start]
        shift = place[mine] + 1 - (terms_before[mine] - first_term)
        places = np.arange(terms_before_row[stop] - first_term)
        places += np.repeat(shift, num_below[mine])
        smaller = np.minimum(
            weight_at_place[places], np.repeat(weights.data[mine], num_below[mine])
        )
        terms = sparse.csr_array(
            (smaller, row_at_place[places], terms_before_row[start : stop + 1] - first_term),
            (stop - start, num_rows),
        )
        # A column stands in the terms once for each shared neighbour; a product adds them up.
        yield terms @ add_up
        start = stop


def _identity(num_rows: int) -> sparse.csr_array:
    rows = np.arange(num_rows + 1)
    return sparse.csr_array((np.ones(num_rows, np.float32), rows[:-1], rows), (num_rows, num_rows))


def _num_rows(graph: sparse.csr_array) -> int:
    return len(starts_of(graph)) - 1
