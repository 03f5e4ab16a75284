"""Retrieval scores under the Market-1501 protocol.

Shapes: Q = queries, G = gallery images, C = queries of a chunk, D = embedding width.

For a query, a gallery image is
- good: the same person seen by another camera;
- junk: the same person seen by the same camera, or nobody (identity -1): deleted, takes no rank;
- wrong: everything else, distractors (identity 0) and people from the query's own camera included.
Where cameras are unknown, every other image of the person is good and only nobody is junk.
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
from daam.metrics.labels import Labels, same_camera
from daam.metrics.ranks import Gallery, ranks_of_good


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
    """CMC@k for each requested k: share of queries with a good image among the first k."""
    num_queries: int
    """All queries, scored or not."""
    num_left_out: int
    """Queries that have no good image and so no score."""
    average_precisions: NDArray[np.float64] = field(compare=False, repr=False)
    """(Q,), of each query; NaN for those left out."""

    def as_document(self) -> dict[str, Any]:
        """The scores as plain values for a JSON file, without those of single queries."""
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
    """The nearest gallery images of a query, junk removed, nearest first."""

    columns: NDArray[np.int64]
    """(K,), gallery positions."""
    correct: NDArray[np.bool_]
    """(K,), whether it is the query's person."""


def retrieval_scores(
    chunks: Iterable[NDArray[np.float32]],
    *,
    query_labels: Labels,
    gallery_labels: Labels,
    ranks: Sequence[int] = (1, 5, 10),
) -> RetrievalScores:
    """Score distances that come a few queries at a time, so that they need not all fit in memory.

    Equal distances rank by their place in the gallery.

    Args:
        chunks: each (C, G), smaller is nearer; together all queries in their order.
        query_labels: of Q images.
        gallery_labels: of G images.
        ranks: the k of CMC@k.

    Raises:
        EvaluationError: the shapes disagree, a distance is not finite, or no query has a good
            image.
    """
    gallery = Gallery(gallery_labels)
    found: list[NDArray[np.int64]] = []
    for distances in chunks:
        rows = slice(len(found), len(found) + len(distances))
        if distances.shape[1:] != (len(gallery),) or rows.stop > len(query_labels):
            raise EvaluationError(
                f"distances have shape {distances.shape} from query {rows.start} on, but there are "
                f"labels for {len(query_labels)} queries and {len(gallery)} gallery images; pass "
                "one row per query, one column per gallery image"
            )
        found += ranks_of_good(distances, queries=query_labels[rows], gallery=gallery)
        del distances  # before the next ones are made: never two chunks in memory
    if len(found) < len(query_labels):
        raise EvaluationError(
            f"distances end after {len(found)} of {len(query_labels)} queries; pass one row per "
            "query"
        )
    return _summary(found, ranks=ranks)


def retrieval_scores_from_embeddings(
    query: Tensor,
    gallery: Tensor,
    *,
    query_labels: Labels,
    gallery_labels: Labels,
    chunk: int,
    ranks: Sequence[int] = (1, 5, 10),
) -> RetrievalScores:
    """Score embeddings by cosine distance, holding the distances of `chunk` queries at a time.

    Args:
        query: (Q, D), L2-normalised, on any device.
        gallery: (G, D), L2-normalised, on the same device.
        query_labels: of Q images.
        gallery_labels: of G images.
        chunk: queries compared at once; memory is 4 * chunk * G bytes beside the embeddings.
        ranks: the k of CMC@k.

    Raises:
        EvaluationError: as `retrieval_scores`.
    """
    query, gallery = query.detach().float(), gallery.detach().float()
    return retrieval_scores(
        (cosine_distances(rows, gallery).numpy() for rows in query.split(chunk)),
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        ranks=ranks,
    )


def cosine_distances(query: Tensor, gallery: Tensor) -> Tensor:
    """(Q, G) float32 on the CPU: 1 - cosine of L2-normalised embeddings."""
    query, gallery = query.detach().float(), gallery.detach().float()
    return torch.addmm(query.new_ones(1), query, gallery.T, alpha=-1).cpu()


def ranked_gallery(
    distances: NDArray[np.float32], *, query_labels: Labels, gallery_labels: Labels, count: int = 10
) -> list[RankedGallery]:
    """The at most `count` nearest gallery images of each query, for a ranked list.

    Args:
        distances: (Q, G), smaller is nearer; each row is sorted in full, so pass a few queries.
        query_labels: of Q images.
        gallery_labels: of G images.
        count: images per query.
    """
    identities = gallery_labels.identities
    same_camera_QG = same_camera(query_labels, gallery_labels)
    ranked = []
    for distances_G, identity, same_camera_G in zip(
        distances, query_labels.identities, same_camera_QG, strict=True
    ):
        junk = ((identities == identity) & same_camera_G) | (identities == JUNK)
        order = np.argsort(distances_G, kind="stable")
        columns = order[~junk[order]][:count]
        correct = (identities[columns] == identity) & (identity > DISTRACTOR)
        ranked.append(RankedGallery(columns=columns, correct=correct))
    return ranked


def _summary(found: Sequence[NDArray[np.int64]], *, ranks: Sequence[int]) -> RetrievalScores:
    num_good_Q = np.array([len(good) for good in found], np.int64)
    scored_Q = num_good_Q > 0
    if not scored_Q.any():
        raise EvaluationError(
            f"none of {len(num_good_Q)} queries has a good image (the same person, seen by another "
            "camera where cameras are known) in the gallery; check that both splits are of one "
            "domain with at least two cameras, or import it without cameras"
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
