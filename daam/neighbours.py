"""The nearest images of each image, and k-reciprocal neighbourhoods as sparse weights.

Pseudo-labels and re-ranking both build on this. Shapes: N = images, D = embedding width,
k = neighbours, T = rows of a tile.

Nothing here is N x N. Only the search compares all pairs, each once: N^2 D / 2 multiplications, in
tiles, on the device of the embeddings. The rest runs on the CPU and grows with N.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

# Images compared at once with as many others: 16 MiB of similarities, and their transpose.
TILE_ROWS = 2048
# Entries of the embeddings gathered at once for weights: 512 KiB, which fits in a core's cache.
WEIGHT_CHUNK_ENTRIES = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The nearest images of each image: itself first, then by distance, ties by row."""

    rows_Nk: NDArray[np.int64]
    similarity_Nk: NDArray[np.float32]
    """Cosines; infinity for an image and itself."""
    furthest_N: NDArray[np.float32]
    """Cosine with the furthest image; NaN if it was not requested."""


def nearest_neighbours(embeddings: Tensor, *, k: int, furthest: bool = False) -> Neighbours:
    """Search all pairs for the min(k, N) nearest images of each.

    Ties are in the order of rows, so that the result does not depend on the device. Similarity is
    symmetric, so each tile serves the images of its rows and, transposed, those of its columns.
    Tiles are visited so that each image sees the others in the order of rows.

    Args:
        embeddings: (N, D), L2-normalised, float32.
        k: neighbours per image, itself included.
        furthest: whether to find the furthest image too.
    """
    num_rows = len(embeddings)
    k = min(k, num_rows)
    nearest = _Nearest(
        similarity_Nk=embeddings.new_full((num_rows, k), -torch.inf),
        rows_Nk=torch.zeros((num_rows, k), dtype=torch.int64, device=embeddings.device),
        furthest_N=embeddings.new_full((num_rows,), torch.inf if furthest else torch.nan),
    )
    starts = range(0, num_rows, TILE_ROWS)
    for first in starts:
        for second in starts[first // TILE_ROWS :]:
            similarity_TT = (
                embeddings[first : first + TILE_ROWS] @ embeddings[second : second + TILE_ROWS].T
            )
            if first == second:
                similarity_TT.fill_diagonal_(torch.inf)
            else:
                nearest.update(similarity_TT.T.contiguous(), at=second, others_from=first)
            nearest.update(similarity_TT, at=first, others_from=second)
            if furthest:
                nearest.update_furthest(similarity_TT, at=first, others_from=second)
    return Neighbours(
        rows_Nk=nearest.rows_Nk.cpu().numpy(),
        similarity_Nk=nearest.similarity_Nk.cpu().numpy(),
        furthest_N=nearest.furthest_N.cpu().numpy(),
    )


def reciprocal_weights(
    embeddings: Tensor,
    neighbours: Neighbours,
    *,
    k1: int,
    k2: int,
    half: int,
    sharpness_N: NDArray[np.float32] | None = None,
) -> sparse.csr_array:
    """(N, N) float32: the k-reciprocal weights of each image's neighbours; rows sum to 1.

    Source: Zhong et al. 2017, arXiv:1701.08398, sections 3.2 to 3.4. R(i) is the images that have i
    among their k1 nearest and are among the k1 nearest of i (an image is its own first neighbour);
    R*(i) adds every R_half(c), c in R(i), of which more than two thirds lie in R(i). Weights of i
    are softmax(-s_i |z_i - z_j|^2) over R*(i), averaged over the k2 nearest of i.

    Args:
        embeddings: (N, D), L2-normalised, float32.
        neighbours: of these embeddings, at least k1 and k2, or all.
        k1: neighbours in a neighbourhood, itself included; 1 or more.
        k2: neighbours whose weights are averaged, itself included; 1 turns averaging off.
        half: neighbours in the smaller neighbourhood R_half, itself included.
        sharpness_N: s_i; 1 by default.
    """
    pattern = _expanded_neighbourhoods(neighbours.rows_Nk[:, :k1], half=half)
    weights = _softmax_weights(pattern, embeddings, neighbours, sharpness_N=sharpness_N)
    if k2 > 1:
        weights = _adjacency(neighbours.rows_Nk[:, :k2], mean=True) @ weights
    return weights


def entries_per_row(graph: sparse.csr_array) -> NDArray[np.int64]:
    """(N,) the number of stored entries of each row."""
    return np.diff(starts_of(graph))


def starts_of(graph: sparse.csr_array | sparse.csc_array) -> NDArray[np.int64]:
    """Where the stored entries of each row (or column) start, and where the last ones end."""
    return np.asarray(graph.indptr, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nearest:
    """The nearest images so far, nearest first, ties by row."""

    similarity_Nk: Tensor
    rows_Nk: Tensor
    furthest_N: Tensor

    def update(self, similarity_TT: Tensor, *, at: int, others_from: int) -> None:
        """Merge the similarities of images from `at` with later others than those seen so far."""
        k = self.rows_Nk.shape[1]
        mine = slice(at, at + len(similarity_TT))
        new_Tk, columns_Tk = _stable_top(similarity_TT, k=min(k, similarity_TT.shape[1]))
        similarity_T2k = torch.cat([self.similarity_Nk[mine], new_Tk], dim=1)
        rows_T2k = torch.cat([self.rows_Nk[mine], columns_Tk + others_from], dim=1)
        similarity_T2k, order_T2k = similarity_T2k.sort(dim=1, descending=True, stable=True)
        self.similarity_Nk[mine] = similarity_T2k[:, :k]
        self.rows_Nk[mine] = rows_T2k.gather(1, order_T2k[:, :k])

    def update_furthest(self, similarity_TT: Tensor, *, at: int, others_from: int) -> None:
        """Merge the furthest images, for the rows of a tile and for its columns."""
        for start, furthest_T in (
            (at, similarity_TT.amin(dim=1)),
            (others_from, similarity_TT.amin(dim=0)),
        ):
            kept_T = self.furthest_N[start : start + len(furthest_T)]
            torch.minimum(kept_T, furthest_T, out=kept_T)


def _stable_top(similarity_TT: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their columns, largest first, ties by column."""
    num_columns = similarity_TT.shape[1]
    values_Tk, columns_Tk = similarity_TT.topk(min(k + 1, num_columns), dim=1)
    if k < num_columns:
        # A tie at the cut: topk may have kept any of the equal values.
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
    """R*(i), the stored columns of row i."""
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
    """1 where two images are among each other's neighbours."""
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
    neighbours: Neighbours,
    *,
    sharpness_N: NDArray[np.float32] | None,
) -> sparse.csr_array:
    """softmax over each row's stored columns of minus the squared Euclidean distance times s.

    The search has computed the similarity of most of these pairs.
    """
    num_rows, k = neighbours.rows_Nk.shape
    rows = np.repeat(np.arange(num_rows), entries_per_row(pattern))
    columns = np.asarray(pattern.indices, np.int64)
    pairs = rows * num_rows + columns
    found_pairs = (np.arange(num_rows)[:, None] * num_rows + neighbours.rows_Nk).ravel()
    order = np.argsort(found_pairs)
    place = np.searchsorted(found_pairs, pairs, sorter=order).clip(max=num_rows * k - 1)
    place = order[place]
    cosine = neighbours.similarity_Nk.ravel()[place]
    # The similarity of an image with itself is stored as infinity.
    unknown = (found_pairs[place] != pairs) | np.isinf(cosine)
    cosine[unknown] = _cosines(embeddings, rows[unknown], columns[unknown])
    # |a - b|^2 = 2 - 2 cos for unit vectors, 0 to 4: the exponential needs no shift.
    exponent = 2 * cosine - 2
    if sharpness_N is not None:
        exponent *= sharpness_N[rows]
    unnormalised = np.exp(exponent)
    total = np.add.reduceat(unnormalised, starts_of(pattern)[:-1])
    return sparse.csr_array(
        (unnormalised / total[rows], pattern.indices, pattern.indptr), pattern.shape
    )


def _cosines(
    embeddings: Tensor, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The cosine of each pair of a row and a column."""
    left = torch.from_numpy(rows).to(embeddings.device)
    right = torch.from_numpy(columns).to(embeddings.device)
    chunk = max(1, WEIGHT_CHUNK_ENTRIES // embeddings.shape[1])
    cosine = embeddings.new_empty(len(rows))
    for start in range(0, len(rows), chunk):
        pairs = slice(start, start + chunk)
        cosine[pairs] = (embeddings[left[pairs]] * embeddings[right[pairs]]).sum(dim=1)
    return cosine.cpu().numpy()
