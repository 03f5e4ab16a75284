"""Retrieval scores after k-reciprocal re-ranking: a second column beside the plain ones.

Re-ranking moves queries and gallery images that share neighbours closer together. It uses the whole
gallery and all other queries at once, which a system that answers one query at a time cannot do,
so its numbers never replace the plain ones.

Shapes: Q = queries, G = gallery images, N = Q + G, C = queries of a chunk, D = embedding width.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from daam.metrics.labels import Labels
from daam.metrics.retrieval import RetrievalScores, cosine_distances, retrieval_scores
from daam.neighbours import nearest_neighbours, reciprocal_weights, starts_of


def reranked_scores(
    query: Tensor,
    gallery: Tensor,
    *,
    query_labels: Labels,
    gallery_labels: Labels,
    chunk: int,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    ranks: Sequence[int] = (1, 5, 10),
) -> RetrievalScores:
    """Score embeddings by re-ranked distances; the defaults are the ones papers report with.

    Args:
        query: (Q, D), L2-normalised, on any device.
        gallery: (G, D), L2-normalised, on the same device.
        query_labels: of Q images.
        gallery_labels: of G images.
        chunk: queries scored at once; the search for neighbours does not depend on it.
        k1: as for `reranked_chunks`.
        k2: as for `reranked_chunks`.
        weight: as for `reranked_chunks`.
        ranks: the k of CMC@k.

    Raises:
        EvaluationError: as `retrieval_scores`.
    """
    return retrieval_scores(
        reranked_chunks(query, gallery, k1=k1, k2=k2, weight=weight, chunk=chunk),
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        ranks=ranks,
    )


def reranked_chunks(
    query: Tensor, gallery: Tensor, *, k1: int, k2: int, weight: float, chunk: int
) -> Iterator[NDArray[np.float32]]:
    """(C, G) re-ranked distances of `chunk` queries at a time, smaller is nearer.

    Source: Zhong et al. 2017, arXiv:1701.08398, equation 12, as their code has it. With
    r_ij = |z_i - z_j|^2 / max over all N images l of |z_i - z_l|^2, the distance is

        (1 - weight) (1 - m_ij / (2 - m_ij)) + weight r_ij,

    m_ij the sum of the smaller of the reciprocal weights of i and j, whose sharpness is that of
    r_ij. Nothing is N x N: neighbours come from a search by tiles, weights are sparse. Equally near
    neighbours rank by row, queries first.

    Args:
        query: (Q, D), L2-normalised, on any device; computed in float32.
        gallery: (G, D), L2-normalised, on the same device.
        k1: neighbours in a neighbourhood, beside the image itself.
        k2: neighbours whose neighbourhoods are averaged, itself included.
        weight: share of the plain distance, 0 to 1.
        chunk: queries per piece; memory is a few times 4 * chunk * G bytes beside the weights.
    """
    query, gallery = query.detach().float(), gallery.detach().float()
    embeddings_ND = torch.cat([query, gallery])
    neighbours = nearest_neighbours(embeddings_ND, k=max(k1 + 1, k2), furthest=True)
    # The furthest is 0 away only where all images are equal; the numerator is then 0 too.
    tiny = np.finfo(np.float32).tiny
    sharpness_N = np.asarray(1 / np.maximum(2 - 2 * neighbours.furthest_N, tiny), np.float32)
    weights = reciprocal_weights(
        embeddings_ND, neighbours, k1=k1 + 1, k2=k2, half=round(k1 / 2) + 1, sharpness_N=sharpness_N
    )
    by_column_GN = weights[len(query) :].tocsc()
    for start in range(0, len(query), chunk):
        rows = slice(start, min(start + chunk, len(query)))
        overlap_CG = _overlap(weights[rows], by_column_GN, num_gallery=len(gallery))
        squared_CG = 2 * cosine_distances(query[rows], gallery).numpy()
        jaccard_CG = 1 - overlap_CG / (2 - overlap_CG)
        reranked_CG = (1 - weight) * jaccard_CG + squared_CG * (weight * sharpness_N[rows, None])
        yield np.asarray(reranked_CG, np.float32)


def _overlap(
    weights_CN: sparse.csr_array, weights_GN: sparse.csc_array, *, num_gallery: int
) -> NDArray[np.float32]:
    """(C, G): sums over the columns of the smaller of two weights."""
    column_starts, row_starts = starts_of(weights_GN), starts_of(weights_CN)
    overlap_CG = np.empty((len(row_starts) - 1, num_gallery), np.float32)
    for row, (first, last) in enumerate(pairwise(row_starts)):
        columns = weights_CN.indices[first:last]
        # Every weight of a gallery image in one of these columns meets that of the query.
        starts = column_starts[columns]
        counts = column_starts[columns + 1] - starts
        places = np.repeat(starts - counts.cumsum() + counts, counts) + np.arange(counts.sum())
        smaller = np.minimum(weights_GN.data[places], weights_CN.data[first:last].repeat(counts))
        overlap_CG[row] = np.bincount(weights_GN.indices[places], smaller, minlength=num_gallery)
    return overlap_CG
