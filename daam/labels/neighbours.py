"""k-reciprocal Jaccard distance between images, as a sparse graph.

Shapes: N = images, D = embedding width, k = neighbours looked at, T = rows of a tile.

Nothing here is N x N: what two images do not share costs nothing. Only the neighbour search
compares all pairs, each once: N^2 D / 2 multiplications, in tiles, on the device of the embeddings.
The rest runs on the CPU and grows with the number of pairs that share a neighbour.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

# Images compared at once with as many others: 16 MiB of similarities, and again turned over.
TILE_ROWS = 2048
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
    similarity_Nk, neighbours_Nk = _search(embeddings, k=max(k1, k2))
    neighbourhoods = _expanded_neighbourhoods(neighbours_Nk[:, :k1], half=round(k1 / 2) + 1)
    weights = _softmax_weights(neighbourhoods, embeddings, similarity_Nk, neighbours_Nk)
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
    return _search(embeddings.detach().float(), k=k)[1]


def entries_per_row(graph: sparse.csr_array) -> NDArray[np.int64]:
    """(N,) how many entries each row stores."""
    return np.diff(_offsets(graph))


def _search(embeddings_ND: Tensor, *, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(N, min(k, N)) cosines and rows of the nearest; infinity stands for an image with itself.

    Similarity is symmetric, so a tile of it serves the images of its rows and, turned over, those
    of its columns. Tiles are visited such that each image meets the others in the order of rows.
    """
    num_rows = len(embeddings_ND)
    k = min(k, num_rows)
    nearest = _Nearest(
        similarity_Nk=embeddings_ND.new_full((num_rows, k), -torch.inf),
        rows_Nk=torch.zeros((num_rows, k), dtype=torch.int64, device=embeddings_ND.device),
    )
    starts = range(0, num_rows, TILE_ROWS)
    for first in starts:
        for second in starts[first // TILE_ROWS :]:
            similarity_TT = (
                embeddings_ND[first : first + TILE_ROWS]
                @ embeddings_ND[second : second + TILE_ROWS].T
            )
            if first == second:
                similarity_TT.fill_diagonal_(torch.inf)
            else:
                nearest.meet(similarity_TT.T.contiguous(), at=second, others_from=first)
            nearest.meet(similarity_TT, at=first, others_from=second)
    return nearest.similarity_Nk.cpu().numpy(), nearest.rows_Nk.cpu().numpy()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nearest:
    """The nearest images met so far, nearest first, equally near ones by row."""

    similarity_Nk: Tensor
    rows_Nk: Tensor

    def meet(self, similarity_TT: Tensor, *, at: int, others_from: int) -> None:
        """Compare images `at` and on with others, all of which come after those met before."""
        k = self.rows_Nk.shape[1]
        mine = slice(at, at + len(similarity_TT))
        new_Tk, columns_Tk = _stable_top(similarity_TT, k=min(k, similarity_TT.shape[1]))
        similarity_T2k = torch.cat([self.similarity_Nk[mine], new_Tk], dim=1)
        rows_T2k = torch.cat([self.rows_Nk[mine], columns_Tk + others_from], dim=1)
        similarity_T2k, order_T2k = similarity_T2k.sort(dim=1, descending=True, stable=True)
        self.similarity_Nk[mine] = similarity_T2k[:, :k]
        self.rows_Nk[mine] = rows_T2k.gather(1, order_T2k[:, :k])


def _stable_top(similarity_TT: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their columns, largest first, equal ones by column."""
    num_columns = similarity_TT.shape[1]
    values_Tk, columns_Tk = similarity_TT.topk(min(k + 1, num_columns), dim=1)
    if k < num_columns:
        # A tie across the border: top-k may have kept any of the equal ones.
        cut_T = (values_Tk[:, k - 1] == values_Tk[:, k]).nonzero().squeeze(1)
        values_Tk, columns_Tk = values_Tk[:, :k], columns_Tk[:, :k]
        if len(cut_T) > 0:
            values, columns = similarity_TT[cut_T].sort(dim=1, descending=True, stable=True)
            values_Tk[cut_T], columns_Tk[cut_T] = values[:, :k], columns[:, :k]
    columns_Tk, by_column_Tk = columns_Tk.sort(dim=1)
    values_Tk, by_value_Tk = values_Tk.gather(1, by_column_Tk).sort(
        dim=1, descending=True, stable=True
    )
    return values_Tk, columns_Tk.gather(1, by_value_Tk)


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


def _softmax_weights(
    pattern: sparse.csr_array,
    embeddings: Tensor,
    similarity_Nk: NDArray[np.float32],
    neighbours_Nk: NDArray[np.int64],
) -> sparse.csr_array:
    """softmax over each row's stored columns of minus the squared Euclidean distance.

    Most of the columns are among the neighbours, whose similarity the search has found.
    """
    num_rows, k = neighbours_Nk.shape
    rows = np.repeat(np.arange(num_rows), entries_per_row(pattern))
    columns = np.asarray(pattern.indices, np.int64)
    pairs = rows * num_rows + columns
    found_pairs = (np.arange(num_rows)[:, None] * num_rows + neighbours_Nk).ravel()
    order = np.argsort(found_pairs)
    place = np.searchsorted(found_pairs, pairs, sorter=order).clip(max=num_rows * k - 1)
    place = order[place]
    cosine = similarity_Nk.ravel()[place]
    # The search gives an image infinity with itself.
    unknown = (found_pairs[place] != pairs) | np.isinf(cosine)
    cosine[unknown] = _cosines(embeddings, rows[unknown], columns[unknown])
    # |a - b|^2 = 2 - 2 cos for unit vectors, 0 to 4: the exponential needs no shift.
    unnormalised = np.exp(2 * cosine - 2)
    total = np.add.reduceat(unnormalised, _offsets(pattern)[:-1])
    return sparse.csr_array(
        (unnormalised / total[rows], pattern.indices, pattern.indptr), pattern.shape
    )


def _cosines(
    embeddings: Tensor, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Of each row with the column at its place."""
    left = torch.from_numpy(rows).to(embeddings.device)
    right = torch.from_numpy(columns).to(embeddings.device)
    chunk = max(1, WEIGHT_CHUNK_ENTRIES // embeddings.shape[1])
    cosine = embeddings.new_empty(len(rows))
    for start in range(0, len(rows), chunk):
        pairs = slice(start, start + chunk)
        cosine[pairs] = (embeddings[left[pairs]] * embeddings[right[pairs]]).sum(dim=1)
    return cosine.cpu().numpy()


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
