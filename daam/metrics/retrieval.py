"""Retrieval scores under the Market-1501 protocol.

Shapes: Q = queries, G = gallery images, D = embedding width.

For a query, a gallery image is
- good: the same person seen by another camera;
- junk: the same person seen by the same camera, or nobody (identity -1): deleted, takes no rank;
- wrong: everything else, distractors (identity 0) and people from the query's own camera included.
Queries without a good image (and queries that show nobody) are left out and counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daam.domains import DISTRACTOR, JUNK
from daam.errors import EvaluationError
from daam.metrics.ranks import Gallery, Labels, ranks_of_good


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalScores:
    """Means over the queries that were scored; each is from 0 to 1, higher is better."""

    mean_average_precision: float
    """mAP: precision averaged over the ranks of the good images (step rule)."""
    map_trapezoid: float
    """mAP as the official Market-1501 code has it: the area by the trapezoid rule."""
    mean_inp: float
    """mINP: number of good images over the rank of the last one (arXiv:2001.04193)."""
    cmc: dict[int, float]
    """For each k asked for: share of queries with a good image among the first k."""
    num_queries: int
    """All queries given."""
    num_left_out: int
    """Those among them that have no good image and so no score."""
    average_precisions: NDArray[np.float64] = field(compare=False, repr=False)
    """(Q,), of each query; NaN for those left out."""

    def as_document(self) -> dict[str, Any]:
        """The scores as plain values, for a JSON file; those of single queries are left out."""
        return {
            "mean_average_precision": self.mean_average_precision,
            "map_trapezoid": self.map_trapezoid,
            "mean_inp": self.mean_inp,
            "cmc": {str(k): share for k, share in self.cmc.items()},
            "num_queries": self.num_queries,
            "num_left_out": self.num_left_out,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedGallery:
    """The nearest gallery images of each query, junk removed, nearest first."""

    columns: NDArray[np.int64]
    """(Q, count), gallery positions; -1 where the gallery has no more images."""
    right: NDArray[np.bool_]
    """(Q, count), whether it is the query's person."""


def retrieval_scores(
    distances: NDArray[np.float32],
    *,
    query_identities: NDArray[np.integer],
    query_cameras: NDArray[np.integer],
    gallery_identities: NDArray[np.integer],
    gallery_cameras: NDArray[np.integer],
    ranks: Sequence[int] = (1, 5, 10),
) -> RetrievalScores:
    """Score a matrix of distances; equal distances rank by their place in the gallery.

    Args:
        distances: (Q, G), float32, smaller is nearer.
        query_identities: (Q,), people are 1 and up.
        query_cameras: (Q,).
        gallery_identities: (G,), people are 1 and up, 0 a distractor, -1 nobody.
        gallery_cameras: (G,).
        ranks: the k of CMC@k.

    Raises:
        EvaluationError: the shapes disagree, a distance is not finite, or no query has a good
            image.
    """
    return retrieval_scores_from_chunks(
        [distances],
        query_identities=query_identities,
        query_cameras=query_cameras,
        gallery_identities=gallery_identities,
        gallery_cameras=gallery_cameras,
        ranks=ranks,
    )


def retrieval_scores_from_chunks(
    chunks: Iterable[NDArray[np.float32]],
    *,
    query_identities: NDArray[np.integer],
    query_cameras: NDArray[np.integer],
    gallery_identities: NDArray[np.integer],
    gallery_cameras: NDArray[np.integer],
    ranks: Sequence[int] = (1, 5, 10),
) -> RetrievalScores:
    """Do the same with distances that come a few queries at a time, so that they need not all fit.

    Args:
        chunks: each (C, G), float32, smaller is nearer; together all queries in their order.
        query_identities: (Q,), people are 1 and up.
        query_cameras: (Q,).
        gallery_identities: (G,), people are 1 and up, 0 a distractor, -1 nobody.
        gallery_cameras: (G,).
        ranks: the k of CMC@k.

    Raises:
        EvaluationError: the shapes disagree, a distance is not finite, or no query has a good
            image.
    """
    queries = Labels(query_identities, query_cameras, what="query")
    gallery = Gallery(Labels(gallery_identities, gallery_cameras, what="gallery"))
    found: list[NDArray[np.int64]] = []
    for distances in chunks:
        rows = slice(len(found), len(found) + len(distances))
        if distances.shape[1:] != (len(gallery),) or rows.stop > len(queries):
            raise EvaluationError(
                f"distances have shape {distances.shape} from query {rows.start} on, but there are "
                f"labels for {len(queries)} queries and {len(gallery)} gallery images; pass one "
                "row a query, one column an image"
            )
        found += ranks_of_good(distances, queries=queries[rows], gallery=gallery)
        del distances  # before the next ones are made: never two chunks in memory
    if len(found) < len(queries):
        raise EvaluationError(
            f"distances end after {len(found)} of {len(queries)} queries; pass one row a query"
        )
    return _summary(found, ranks=ranks)


def retrieval_scores_from_embeddings(
    query: Tensor,
    gallery: Tensor,
    *,
    query_identities: NDArray[np.integer],
    query_cameras: NDArray[np.integer],
    gallery_identities: NDArray[np.integer],
    gallery_cameras: NDArray[np.integer],
    chunk: int,
    ranks: Sequence[int] = (1, 5, 10),
) -> RetrievalScores:
    """Score embeddings by cosine distance, holding the distances of `chunk` queries at a time.

    Args:
        query: (Q, D), L2-normalised, on any device.
        gallery: (G, D), L2-normalised, on the same device.
        query_identities: (Q,), people are 1 and up.
        query_cameras: (Q,).
        gallery_identities: (G,), people are 1 and up, 0 a distractor, -1 nobody.
        gallery_cameras: (G,).
        chunk: queries compared at once; memory is 4 * chunk * G bytes beside the embeddings.
        ranks: the k of CMC@k.

    Raises:
        EvaluationError: the shapes disagree, an embedding is not finite, or no query has a good
            image.
    """
    query, gallery = query.detach().float(), gallery.detach().float()
    check_embeddings(query, query_identities, what="query")
    check_embeddings(gallery, gallery_identities, what="gallery")
    return retrieval_scores_from_chunks(
        (cosine_distances(rows, gallery).numpy() for rows in query.split(chunk)),
        query_identities=query_identities,
        query_cameras=query_cameras,
        gallery_identities=gallery_identities,
        gallery_cameras=gallery_cameras,
        ranks=ranks,
    )


def check_embeddings(embeddings: Tensor, identities: NDArray[np.integer], *, what: str) -> None:
    """Refuse embeddings that are not one for each label."""
    if len(embeddings) != len(identities):
        raise EvaluationError(
            f"{len(embeddings)} {what} embeddings but labels for {len(identities)} {what} images; "
            "pass one label an image, in the same order"
        )


def cosine_distances(query: Tensor, gallery: Tensor) -> Tensor:
    """(Q, G) float32 on the CPU: 1 - cosine of L2-normalised embeddings."""
    query, gallery = query.detach().float(), gallery.detach().float()
    return torch.addmm(query.new_ones(1), query, gallery.T, alpha=-1).cpu()


def ranked_gallery(
    distances: NDArray[np.float32],
    *,
    query_identities: NDArray[np.integer],
    query_cameras: NDArray[np.integer],
    gallery_identities: NDArray[np.integer],
    gallery_cameras: NDArray[np.integer],
    count: int = 10,
) -> RankedGallery:
    """The `count` nearest gallery images of each query, for looking at.

    Args:
        distances: (Q, G), float32, smaller is nearer; a few queries, each is sorted in full.
        query_identities: (Q,).
        query_cameras: (Q,).
        gallery_identities: (G,).
        gallery_cameras: (G,).
        count: images a query.
    """
    columns_QK = np.full((len(distances), count), -1, np.int64)
    right_QK = np.zeros((len(distances), count), np.bool_)
    for row, (identity, camera) in enumerate(zip(query_identities, query_cameras, strict=True)):
        junk = (gallery_identities == identity) & (gallery_cameras == camera)
        junk |= gallery_identities == JUNK
        order = np.argsort(distances[row], kind="stable")
        nearest = order[~junk[order]][:count]
        columns_QK[row, : len(nearest)] = nearest
        right_QK[row, : len(nearest)] = (gallery_identities[nearest] == identity) & (
            identity > DISTRACTOR
        )
    return RankedGallery(columns=columns_QK, right=right_QK)


def _summary(found: Sequence[NDArray[np.int64]], *, ranks: Sequence[int]) -> RetrievalScores:
    num_good_Q = np.array([len(good) for good in found], np.int64)
    scored_Q = num_good_Q > 0
    if not scored_Q.any():
        raise EvaluationError(
            f"none of {len(num_good_Q)} queries has a good image (the same person, seen by another "
            "camera) in the gallery; check that both splits are of one domain with at least two "
            "cameras"
        )
    # The good images of all scored queries in one row, of each query from `first` to `last`.
    num_good = num_good_Q[scored_Q]
    last = num_good.cumsum() - 1
    first = last + 1 - num_good
    rank = np.concatenate(found)
    order = np.arange(1, len(rank) + 1) - np.repeat(first, num_good)
    precision = order / rank
    # Precision one rank earlier, 1 before the first.
    earlier = np.where(rank > 1, (order - 1) / np.maximum(rank - 1, 1), 1.0)
    average_precision = np.add.reduceat(precision, first) / num_good
    trapezoid = np.add.reduceat((precision + earlier) / 2, first) / num_good
    average_precisions_Q = np.full(len(num_good_Q), np.nan)
    average_precisions_Q[scored_Q] = average_precision
    return RetrievalScores(
        average_precisions=average_precisions_Q,
        mean_average_precision=float(average_precision.mean()),
        map_trapezoid=float(trapezoid.mean()),
        mean_inp=float((num_good / rank[last]).mean()),
        cmc={k: float((rank[first] <= k).mean()) for k in ranks},
        num_queries=len(num_good_Q),
        num_left_out=len(num_good_Q) - len(num_good),
    )
