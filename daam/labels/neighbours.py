"""k-reciprocal Jaccard distance between images, as a sparse graph.

Shapes: N = images, D = embedding width, k = neighbours looked at.

Nothing here is N x N: what two images do not share costs nothing. Only the neighbour search
compares all pairs, N^2 D multiplications in chunks, on the device of the embeddings; the rest runs
on the CPU and grows with the number of pairs that share a neighbour.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

# Entries of a chunk of similarities: 64 MiB of float32.
SEARCH_CHUNK_ENTRIES = 1 << 24
# Entries of the embeddings gathered at once for weights: 512 KiB, which stays in a core's cache.
WEIGHT_CHUNK_ENTRIES = 1 << 17
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
    num_rows = len(embeddings)
    if num_rows == 0:
        return sparse.csr_array((0, 0), dtype=np.float32)
    embeddings = embeddings.detach().float()
    neighbours_Nk = nearest_neighbours(embeddings, k=max(k1, k2))
    neighbourhoods = _expanded_neighbourhoods(neighbours_Nk[:, :k1], half=round(k1 / 2) + 1)
    weights = _softmax_weights(neighbourhoods, embeddings)
    if k2 > 1:
        weights = _adjacency(neighbours_Nk[:, :k2], mean=True) @ weights
    return _distances_from_overlap(weights, max_distance=max_distance)


def nearest_neighbours(embeddings: Tensor, *, k: int) -> NDArray[np.int64]:
    """(N, min(k, N)): rows of the nearest images, the image itself first, nearest next.

    Equally near images come in the order of their rows, so that the result does not depend on how
    a device breaks ties.

    Args:
        embeddings: (N, D), L2-normalised.
        k: neighbours an image, itself included.
    """
    num_rows = len(embeddings)
    k = min(k, num_rows)
    neighbours_Nk = np.empty((num_rows, k), np.int64)
    chunk = max(1, SEARCH_CHUNK_ENTRIES // num_rows)
    for start in range(0, num_rows, chunk):
        similarity_CN = embeddings[start : start + chunk] @ embeddings.T
        similarity_CN.diagonal(start).fill_(torch.inf)
        neighbours_Nk[start : start + chunk] = _stable_top(similarity_CN, k=k).cpu().numpy()
    return neighbours_Nk


def entries_per_row(graph: sparse.csr_array) -> NDArray[np.int64]:
    """(N,) how many entries each row stores."""
    return np.diff(_offsets(graph))


def _stable_top(similarity_CN: Tensor, *, k: int) -> Tensor:
    """Columns of the k largest of each row, equal ones by column."""
    num_columns = similarity_CN.shape[1]
    values_Ck, columns_Ck = similarity_CN.topk(min(k + 1, num_columns), dim=1)
    if k < num_columns:
        # A tie across the border: top-k may have kept any of the equal ones.
        cut_C = (values_Ck[:, k - 1] == values_Ck[:, k]).nonzero().squeeze(1)
        values_Ck, columns_Ck = values_Ck[:, :k], columns_Ck[:, :k]
        if len(cut_C) > 0:
            values, columns = similarity_CN[cut_C].sort(dim=1, descending=True, stable=True)
            values_Ck[cut_C], columns_Ck[cut_C] = values[:, :k], columns[:, :k]
    columns_Ck, by_column_Ck = columns_Ck.sort(dim=1)
    by_value_Ck = values_Ck.gather(1, by_column_Ck).sort(dim=1, descending=True, stable=True)[1]
    return columns_Ck.gather(1, by_value_Ck)


def _expanded_neighbourhoods(neighbours_Nk: NDArray[np.int64], *, half: int) -> sparse.csr_array:
    """R*(i) as the stored columns of row i."""
    full = _reciprocal(neighbours_Nk)
    smaller = _reciprocal(neighbours_Nk[:, :half])
    # |R(i) and R_half(c)| for every c in R(i).
    shared = full.multiply(full @ smaller.T).tocsr()
    size_of_smaller = entries_per_row(smaller)[shared.indices]
    shared.data = (3 * shared.data > 2 * size_of_smaller).astype(np.float32)
    shared.eliminate_zeros()
    expanded = (full + shared @ smaller).tocsr()
    expanded.sort_indices()
    return expanded


def _reciprocal(neighbours_Nk: NDArray[np.int64]) -> sparse.csr_array:
    """1 where two images are each among the other's neighbours."""
    adjacency = _adjacency(neighbours_Nk)
    return adjacency.multiply(adjacency.T).tocsr()


def _adjacency(neighbours_Nk: NDArray[np.int64], *, mean: bool = False) -> sparse.csr_array:
    """1 (or with `mean` 1 / k) at each row's neighbours."""
    num_rows, k = neighbours_Nk.shape
    values = np.full(num_rows * k, 1 / k if mean else 1, np.float32)
    starts = np.arange(0, num_rows * k + 1, k)
    return sparse.csr_array((values, neighbours_Nk.ravel(), starts), (num_rows, num_rows))


def _softmax_weights(pattern: sparse.csr_array, embeddings: Tensor) -> sparse.csr_array:
    """softmax over each row's stored columns of minus the squared Euclidean distance."""
    rows = np.repeat(np.arange(_num_rows(pattern)), entries_per_row(pattern))
    left = torch.from_numpy(rows).to(embeddings.device)
    right = torch.from_numpy(pattern.indices.astype(np.int64)).to(embeddings.device)
    chunk = max(1, WEIGHT_CHUNK_ENTRIES // embeddings.shape[1])
    products = embeddings.new_empty(len(rows))
    for start in range(0, len(rows), chunk):
        pairs = slice(start, start + chunk)
        products[pairs] = (embeddings[left[pairs]] * embeddings[right[pairs]]).sum(dim=1)
    cosine = products.cpu().numpy()
    # |a - b|^2 = 2 - 2 cos for unit vectors, 0 to 4: the exponential needs no shift.
    unnormalised = np.exp(2 * cosine - 2)
    total = np.add.reduceat(unnormalised, _offsets(pattern)[:-1])
    return sparse.csr_array(
        (unnormalised / total[rows], pattern.indices, pattern.indptr), pattern.shape
    )


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
    offsets = _offsets(weights)
    numbered = sparse.csr_array((np.arange(num_weights), weights.indices, offsets), weights.shape)
    by_column = numbered.tocsc()  # its data: which weight stands at each place of column order
    row_at_place = by_column.indices
    which = np.asarray(by_column.data, np.int64)
    weight_at_place = weights.data[which]
    place = np.empty(num_weights, np.int64)
    place[which] = np.arange(num_weights)
    num_below = _offsets(by_column)[1:][weights.indices] - place - 1
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
    return len(_offsets(graph)) - 1


def _offsets(graph: sparse.csr_array | sparse.csc_array) -> NDArray[np.int64]:
    """Where the entries of each row (of each column) start, and where the last ones end."""
    return np.asarray(graph.indptr, np.int64)
