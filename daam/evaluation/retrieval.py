"""Retrieval scores under the Market-1501 protocol.

Shapes: Q = queries, G = gallery images, D = embedding width.

For a query, a gallery image is
- good: the same person seen by another camera;
- junk: the same person seen by the same camera, or nobody (identity -1): deleted, takes no rank;
- wrong: everything else, distractors (identity 0) and people from the query's own camera included.
Queries without a good image (and queries that show nobody) are left out and counted.

A rank needs a count, not a sort: one plus the gallery images that are nearer, plus the equally
near ones that come earlier, which is where a stable sort would put them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daam.domains import DISTRACTOR, JUNK
from daam.errors import EvaluationError

# With fewer images in a row to each good one, a sort is cheaper than a count for each.
MIN_IMAGES_TO_COUNT = 64
# If the last good image comes within this share of the row, the rest of the row is cut off.
MAX_SHARE_TO_CUT = 0.25


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
    queries = _Labels(query_identities, query_cameras, what="query")
    gallery = _Gallery(_Labels(gallery_identities, gallery_cameras, what="gallery"))
    if distances.shape != (len(queries), len(gallery)):
        raise EvaluationError(
            f"distances have shape {distances.shape}, but there are labels for {len(queries)} "
            f"queries and {len(gallery)} gallery images; pass one row a query, one column an image"
        )
    return _summary(list(_ranks_of_good(distances, queries=queries, gallery=gallery)), ranks=ranks)


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
    queries = _Labels(query_identities, query_cameras, what="query")
    index = _Gallery(_Labels(gallery_identities, gallery_cameras, what="gallery"))
    for embeddings, labels in ((query, queries), (gallery, index.labels)):
        if len(embeddings) != len(labels):
            raise EvaluationError(
                f"{len(embeddings)} {labels.what} embeddings but labels for {len(labels)} "
                f"{labels.what} images; pass one label an image, in the same order"
            )

    query, gallery = query.detach().float(), gallery.detach().float()
    ranks_of_good: list[NDArray[np.int64]] = []
    for begin in range(0, len(queries), chunk):
        rows = slice(begin, begin + chunk)
        distances = cosine_distances(query[rows], gallery).numpy()
        ranks_of_good += _ranks_of_good(distances, queries=queries[rows], gallery=index)
    return _summary(ranks_of_good, ranks=ranks)


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


@dataclass(frozen=True, slots=True)
class _Labels:
    identities: NDArray[np.integer]
    cameras: NDArray[np.integer]
    what: str

    def __post_init__(self) -> None:
        if self.identities.ndim != 1 or self.identities.shape != self.cameras.shape:
            raise EvaluationError(
                f"{self.what} identities have shape {self.identities.shape}, cameras "
                f"{self.cameras.shape}; pass one identity and one camera an image"
            )

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, rows: slice) -> "_Labels":
        return _Labels(self.identities[rows], self.cameras[rows], self.what)


class _Gallery:
    """Gallery labels, indexed by identity."""

    def __init__(self, labels: _Labels) -> None:
        self.labels = labels
        self._by_identity = np.argsort(labels.identities, kind="stable")
        self._sorted_identities = labels.identities[self._by_identity]
        [self.junk] = self.columns_of(np.array([JUNK]))

    def __len__(self) -> int:
        return len(self.labels)

    def columns_of(self, identities: NDArray[np.integer]) -> Iterator[NDArray[np.int64]]:
        """The columns of each identity, in rising order."""
        first = self._sorted_identities.searchsorted(identities, side="left")
        last = self._sorted_identities.searchsorted(identities, side="right")
        for low, high in zip(first.tolist(), last.tolist(), strict=True):
            yield self._by_identity[low:high]


def _ranks_of_good(
    distances_QG: NDArray[np.float32], *, queries: _Labels, gallery: _Gallery
) -> Iterator[NDArray[np.int64]]:
    """For each query the 1-based ranks of its good images, in rising order; none if left out."""
    row_G = np.empty(len(gallery), np.float32)
    flags_G = np.empty(len(gallery), np.bool_)
    for distances_G, identity, camera, same in zip(
        distances_QG,
        queries.identities.tolist(),
        queries.cameras.tolist(),
        gallery.columns_of(queries.identities),
        strict=True,
    ):
        other_camera = gallery.labels.cameras[same] != camera
        good = same[other_camera]
        if identity <= DISTRACTOR or len(good) == 0:
            yield np.empty(0, np.int64)
            continue
        np.copyto(row_G, distances_G, casting="same_kind")
        if not np.isfinite(row_G, out=flags_G).all():
            raise EvaluationError(
                "a distance is NaN or infinite, so nothing can be ranked by it; look for "
                "non-finite embeddings or weights in the checkpoint"
            )
        # Nothing counts what is further than every good image, so this deletes junk.
        row_G[same[~other_camera]] = np.inf
        row_G[gallery.junk] = np.inf
        yield _ranks(row_G, good, flags_G=flags_G)


def _ranks(
    row_G: NDArray[np.float32], good: NDArray[np.int64], *, flags_G: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """1-based places of these columns in a stable sort of the row, in rising order.

    `flags_G` is room to work in: reused, it stays in the cache.
    """
    good = good[row_G[good].argsort(kind="stable")]
    last = _count_up_to(row_G, good[-1], flags_G=flags_G)
    if last < MAX_SHARE_TO_CUT * len(row_G):
        # What comes after the last good image changes no rank.
        columns = np.flatnonzero(flags_G)
        row_G, good, flags_G = row_G[columns], columns.searchsorted(good), flags_G[:last]
    if len(row_G) < MIN_IMAGES_TO_COUNT * len(good):
        place_G = np.empty(len(row_G), np.int64)
        place_G[row_G.argsort(kind="stable")] = np.arange(1, len(row_G) + 1)
        return place_G[good]
    ranks = [_count_up_to(row_G, column, flags_G=flags_G) for column in good[:-1].tolist()]
    return np.array([*ranks, last], np.int64)


def _count_up_to(row_G: NDArray[np.float32], column: int, *, flags_G: NDArray[np.bool_]) -> int:
    """How many a stable sort places up to this column, itself included; `flags_G` tells which."""
    distance, after = row_G[column], column + 1
    np.less_equal(row_G[:after], distance, out=flags_G[:after])
    np.less(row_G[after:], distance, out=flags_G[after:])
    return int(np.count_nonzero(flags_G))


def _summary(
    ranks_of_good: Sequence[NDArray[np.int64]], *, ranks: Sequence[int]
) -> RetrievalScores:
    num_good_Q = np.array([len(good) for good in ranks_of_good], np.int64)
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
    rank = np.concatenate(ranks_of_good)
    found = np.arange(1, len(rank) + 1) - np.repeat(first, num_good)
    precision = found / rank
    # Precision one rank earlier, 1 before the first.
    earlier = np.where(rank > 1, (found - 1) / np.maximum(rank - 1, 1), 1.0)
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
