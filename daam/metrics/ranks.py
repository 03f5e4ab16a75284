"""Ranks of the images a query should find, without sorting the gallery.

A rank is a count, not a sort: one plus the gallery images that are nearer, plus the equally near
ones that come earlier, which is where a stable sort would put them. Shapes: C = queries of a
chunk, G = gallery images.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from daam.domains import DISTRACTOR, JUNK
from daam.errors import EvaluationError
from daam.metrics.labels import Labels

# With fewer images in a row per good one, a sort is cheaper than a count for each.
MIN_IMAGES_TO_COUNT = 64
# If the last good image comes within this share of the row, the rest of the row is cut off.
MAX_SHARE_TO_CUT = 0.25


class Gallery:
    """Gallery labels, indexed by identity."""

    def __init__(self, labels: Labels) -> None:
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


def ranks_of_good(
    distances_CG: NDArray[np.float32], *, queries: Labels, gallery: Gallery
) -> Iterator[NDArray[np.int64]]:
    """For each query the 1-based ranks of its good images, in rising order; none if left out.

    Args:
        distances_CG: smaller is nearer; equal ones rank by their place in the gallery.
        queries: labels of the rows.
        gallery: labels of the columns.

    Raises:
        EvaluationError: a distance is not finite.
    """
    row_G = np.empty(len(gallery), np.float32)
    flags_G = np.empty(len(gallery), np.bool_)
    for row, (distances_G, identity, same) in enumerate(
        zip(
            distances_CG,
            queries.identities.tolist(),
            gallery.columns_of(queries.identities),
            strict=True,
        )
    ):
        if queries.cameras is None or gallery.labels.cameras is None:
            other_camera = np.ones(len(same), np.bool_)
        else:
            other_camera = gallery.labels.cameras[same] != queries.cameras[row]
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
        # Images further than every good one are never counted, so infinity deletes junk.
        row_G[same[~other_camera]] = np.inf
        row_G[gallery.junk] = np.inf
        yield _ranks(row_G, good, flags_G=flags_G)


def _ranks(
    row_G: NDArray[np.float32], good: NDArray[np.int64], *, flags_G: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """1-based places of these columns in a stable sort of the row, in rising order.

    `flags_G` is scratch memory: reused, it stays in the CPU's cache.
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
    """How many images a stable sort places up to this column, itself included.

    `flags_G` is filled with which ones.
    """
    distance, after = row_G[column], column + 1
    np.less_equal(row_G[:after], distance, out=flags_G[:after])
    np.less(row_G[after:], distance, out=flags_G[after:])
    return int(np.count_nonzero(flags_G))
