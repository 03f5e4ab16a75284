"""k-reciprocal Jaccard distance between images, as a sparse graph.

Nothing here is N x N: only pairs with a shared neighbour cost time and memory, besides the search
for neighbours. Shapes: N = images,
D = embedding width.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

from daam.neighbours import nearest_neighbours, reciprocal_weights, starts_of

# Shared neighbours summed at once: a few arrays of 1 to 2 MiB, which fit in a core's cache.
OVERLAP_CHUNK_TERMS = 1 << 18
# Pairs of rows summed at once: about 80 weights each, 1 MiB per side.
PAIR_CHUNK = 1024
# Share of the smallest wanted overlap that the tail of a row may hold: a larger one leaves fewer
# terms to sum and more pairs to sum in full.
TAIL_SHARE = 0.8
FILTER_FROM = 0.3
ROUNDING = 1e-4  # well above that of a float32 sum of a few hundred weights


def jaccard_distances(
    embeddings: Tensor, *, k1: int, k2: int, max_distance: float = 1.0
) -> sparse.csr_array:
    """(N, N) symmetric float32 distances below 1; entries that are not stored are 1.

    Source: Zhong et al. 2017, arXiv:1701.08398, sections 3.2 to 3.4, with the neighbourhoods that
    unsupervised re-ID settled on: R(i) is the images that have i among their k1 nearest and are
    among the k1 nearest of i (an image is its own first neighbour; ties rank by row);
    R*(i) adds every R_half(c), c in R(i), of which more than two thirds lie in R(i), where R_half
    uses round(k1 / 2) + 1 neighbours. Weights of i are softmax(-|z_i - z_j|^2) over R*(i),
    averaged over the k2 nearest of i. With m_ij the sum over c of the smaller weight:
    d_ij = 1 - m_ij / (2 - m_ij).

    The diagonal is stored, as zeros. With fewer images than k1 or k2, all are neighbours.

    Args:
        embeddings: (N, D), L2-normalised, on any device; computed in float32.
        k1: neighbours in a neighbourhood, itself included; 1 or more.
        k2: neighbours whose weights are averaged, itself included; 1 turns averaging off.
        max_distance: larger distances are not stored. Noisy embeddings overlap a little with
            nearly all others, so a limit keeps the result small.
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
    least = 2 * (1 - min(max_distance, 1.0)) / (2 - min(max_distance, 1.0))
    blocks = []
    for overlap in _large_overlaps(_rare_columns_first(weights), least=least):
        distance = _distance(overlap.data)
        overlap.data[(distance >= 1) | (distance > max_distance)] = 0
        overlap.eliminate_zeros()
        blocks.append(overlap)
    one_sided = sparse.vstack(blocks, format="csr")
    itself = _identity(_num_rows(weights))
    # Made symmetric before it becomes a distance: scipy's sums drop zeros.
    symmetric = (one_sided + one_sided.T + itself).tocsr()
    symmetric.data = _distance(symmetric.data)
    return symmetric


def _rare_columns_first(weights: sparse.csr_array) -> sparse.csr_array:
    """The same weights with columns renumbered by how many rows share them, rare ones first."""
    num_rows = _num_rows(weights)
    order = np.argsort(np.bincount(weights.indices, minlength=num_rows), kind="stable")
    number = np.empty(num_rows, np.int64)
    number[order] = np.arange(num_rows)
    entries = (weights.data.copy(), number[weights.indices], weights.indptr)
    ordered = sparse.csr_array(entries, weights.shape)
    ordered.sort_indices()
    return ordered


def _large_overlaps(weights: sparse.csr_array, *, least: float) -> Iterator[sparse.csr_array]:
    """Sums of smaller weights of each row with the rows below it, all that reach `least`.

    Source: prefix filtering, Chaudhuri et al. 2006, A primitive operator for similarity joins; here
    with weights. Most pairs overlap little, and the heads of their rows show it: the weights left
    after a tail of last columns with a sum of at most `left_out` is cut off. All rows have the same
    column order, so what two rows share outside both heads lies in the tail of one of them, and is
    at most `left_out`. A pair whose heads share less than `least - left_out` is dropped; the
    others, about a dozen per row in grouping, are summed in full. If `least` is so small that few
    pairs would be dropped, nothing is cut off. Rare columns come first, so that the columns shared
    by many rows are in the tails.
    """
    left_out = TAIL_SHARE * least if least >= FILTER_FROM else 0.0
    first_row = 0
    for overlap in _overlap_with_later_rows(_heads(weights, left_out=left_out)):
        if left_out > 0:
            rows = np.repeat(np.arange(_num_rows(overlap)), np.diff(starts_of(overlap)))
            near = overlap.data >= least - left_out - ROUNDING
            rows, columns = rows[near], overlap.indices[near]
            starts = np.searchsorted(rows, np.arange(_num_rows(overlap) + 1))
            sums = _overlaps(weights, first_row + rows, columns)
            overlap = sparse.csr_array((sums, columns, starts), overlap.shape)
        yield overlap
        first_row += _num_rows(overlap)


def _heads(weights: sparse.csr_array, *, left_out: float) -> sparse.csr_array:
    """The weights without the last ones of each row whose sum is at most `left_out`."""
    num_entries = np.diff(starts_of(weights))
    up_to = np.cumsum(weights.data, dtype=np.float64)
    whole = up_to[starts_of(weights)[1:] - 1]
    keep = np.repeat(whole, num_entries) - up_to + weights.data > left_out
    kept_before = np.concatenate([[0], np.cumsum(keep)])
    return sparse.csr_array(
        (weights.data[keep], weights.indices[keep], kept_before[starts_of(weights)]), weights.shape
    )


def _overlaps(
    weights: sparse.csr_array, rows: NDArray[np.integer], others: NDArray[np.integer]
) -> NDArray[np.float32]:
    """The sum of smaller weights of each pair of rows, bitwise equal to that from terms."""
    sums = [np.empty(0, np.float32)]
    ones = np.ones(_num_rows(weights), np.float32)
    for start in range(0, len(rows), PAIR_CHUNK):
        pairs = slice(start, start + PAIR_CHUNK)
        smaller = weights[rows[pairs]].minimum(weights[others[pairs]])
        sums.append(smaller @ ones)  # sums from a row's first column, as a matrix product does
    return np.concatenate(sums)


def _distance(overlap: ArrayLike) -> NDArray[np.float32]:
    overlap = np.asarray(overlap, np.float32)
    return np.maximum(1 - overlap / (2 - overlap), 0)


def _overlap_with_later_rows(weights: sparse.csr_array) -> Iterator[sparse.csr_array]:
    """Sums of smaller weights of each row with the rows below it, a few rows at a time.

    Each stored weight (i, c) is paired with the weights of column c below row i. Each pair is a
    term, and the terms of a row are summed by their column in the result.
    """
    num_rows, num_weights = _num_rows(weights), weights.nnz
    offsets = starts_of(weights)
    numbered = sparse.csr_array((np.arange(num_weights), weights.indices, offsets), weights.shape)
    by_column = numbered.tocsc()  # its data: the index of the weight at each place in column order
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
        # A column occurs in the terms once per shared neighbour; a product sums them.
        yield terms @ add_up
        start = stop


def _identity(num_rows: int) -> sparse.csr_array:
    rows = np.arange(num_rows + 1)
    return sparse.csr_array((np.ones(num_rows, np.float32), rows[:-1], rows), (num_rows, num_rows))


def _num_rows(graph: sparse.csr_array) -> int:
    return len(starts_of(graph)) - 1
