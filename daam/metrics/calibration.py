"""Below which distance do two images show the same person? A threshold for a false-match rate.

There is no universal threshold: distances depend on the network, the cameras and the people. So
it is taken from labelled pairs of the cameras it will be used on, with a confidence interval. Only
pairs of images from two cameras count, since those are what a search compares; where cameras are
unknown, all pairs do.

Shapes: Q = queries, G = gallery images, R = chosen queries, N = pairs, P = people.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daam.domains import DISTRACTOR
from daam.errors import EvaluationError
from daam.metrics.labels import Labels, same_camera
from daam.spread import spread_evenly

CONFIDENCE = 0.95
# The rule of 30 (Doddington et al. 2000): with fewer errors, the error rate is known to no better
# than +-30 % at 90 % confidence.
ERRORS_TO_TRUST = 30
NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PairChoice:
    """The pairs of a query and a gallery image that a threshold is taken from."""

    rows_R: NDArray[np.int64]
    """The compared queries, spread evenly over all that show a person."""
    people_R: NDArray[np.integer]
    """Their identities."""
    same_RG: NDArray[np.bool_]
    """Pairs of one person, seen by two cameras."""
    other_RG: NDArray[np.bool_]
    """Pairs of two people, seen by two cameras."""

    def pairs(self, distances_RG: NDArray[np.float32]) -> tuple["Pairs", "Pairs"]:
        """The pairs of one person and those of two, from the distances of the chosen queries."""
        same, other = (
            Pairs(
                distances_N=distances_RG[chosen_RG],
                people_N=np.repeat(self.people_R, np.count_nonzero(chosen_RG, axis=1)),
            )
            for chosen_RG in (self.same_RG, self.other_RG)
        )
        return same, other


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Distances of pairs of images, and the identity of each pair's query."""

    distances_N: NDArray[np.float32]
    people_N: NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.distances_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate measured on a sample, and its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A threshold: a pair matches, is taken for one person, if its distance is below it."""

    requested: float
    """The false-match rate the threshold was chosen for."""
    threshold: float
    false_match: Rate
    """Share of the pairs of two people that match; `value` is at most `requested`."""
    true_match: Rate
    """Share of the pairs of one person that match."""
    num_false: int
    """Pairs of two people below the threshold, which `false_match` is estimated from."""
    num_same: int
    num_other: int
    num_people: int

    @property
    def warning(self) -> str | None:
        """Why the false-match rate is unreliable, or None."""
        if self.num_false >= ERRORS_TO_TRUST:
            return None
        return (
            f"the threshold for a false-match rate of {self.requested:g} rests on {self.num_false} "
            f"of {self.num_other:,} pairs; below {ERRORS_TO_TRUST} it is a guess: ask for a higher "
            "rate or label more images"
        )

    def as_document(self) -> dict[str, Any]:
        """Plain values for a JSON file."""

        def plain(rate: Rate) -> dict[str, Any]:
            return {"found": rate.value, "interval": [rate.low, rate.high]}

        return {
            "false_match_rate": self.requested,
            "threshold": self.threshold,
            "false_match": plain(self.false_match),
            "true_match": plain(self.true_match),
            "confidence": CONFIDENCE,
            "num_false_matches": self.num_false,
            "num_same_pairs": self.num_same,
            "num_other_pairs": self.num_other,
            "num_people": self.num_people,
            "warning": self.warning,
        }


def choose_pairs(
    *, query_labels: Labels, gallery_labels: Labels, max_pairs: int = 10_000_000
) -> PairChoice:
    """Choose the pairs seen by two cameras (all, where cameras are unknown) without nobodies.

    Junk and distractors are in no pair.

    Args:
        query_labels: of Q images.
        gallery_labels: of G images.
        max_pairs: where Q x G is more, only queries spread evenly over all are compared.
    """
    people = np.flatnonzero(query_labels.identities > DISTRACTOR)
    count = max(1, max_pairs // max(1, len(gallery_labels)))
    rows_R = people[spread_evenly(len(people), count=count)]
    chosen = query_labels[rows_R]
    usable_RG = (gallery_labels.identities > DISTRACTOR) & ~same_camera(chosen, gallery_labels)
    alike_RG = chosen.identities[:, None] == gallery_labels.identities
    return PairChoice(
        rows_R=rows_R,
        people_R=chosen.identities,
        same_RG=usable_RG & alike_RG,
        other_RG=usable_RG & ~alike_RG,
    )


def check_supported(false_match_rate: float, *, num_same: int, num_other: int) -> None:
    """Check that there are enough pairs to find a threshold.

    Raises:
        EvaluationError: the rate is not between 0 and 1, there is no pair of one person, or so few
            of two that less than one of them could be a false match.
    """
    if not 0 < false_match_rate < 1:
        raise EvaluationError(
            f"a false-match rate of {false_match_rate:g} has no threshold; choose one between 0 "
            "and 1, such as 0.001"
        )
    if num_same == 0:
        raise EvaluationError(
            "no person of the query is in the gallery (under another camera, if those are known), "
            "so there is no pair to find a threshold on; check identities and cameras"
        )
    if num_other * false_match_rate < 1:
        raise EvaluationError(
            f"{num_other:,} pairs of different people cannot tell a false-match rate of "
            f"{false_match_rate:g}: it takes {1 / false_match_rate:,.0f} at the very least and "
            f"{ERRORS_TO_TRUST / false_match_rate:,.0f} to rely on it; ask for a higher rate or "
            "label more images"
        )


def calibrate(same: Pairs, other: Pairs, *, false_match_rate: float, seed: int) -> Calibration:
    """Find the largest threshold that keeps the false-match rate, and its true-match rate.

    Pairs below the threshold match. Of equally distant pairs all match or none, so the measured
    rate can be below the requested one, never above.

    The intervals come from a bootstrap over the identities of the queries (Bolle, Ratha and
    Pankanti 2004): pairs that share a person are not independent, and a binomial interval would be
    too narrow. They hold for this threshold, this gallery and these cameras. A rate of 0 or 1 has
    no spread: its interval is 3 / P long, the rule of three.

    Args:
        same: pairs of one person.
        other: pairs of two people.
        false_match_rate: share of `other` that may match, above 0 and below 1.
        seed: of the bootstrap.

    Raises:
        EvaluationError: a distance is not finite, or there are too few pairs for such a rate.
    """
    check_supported(false_match_rate, num_same=len(same), num_other=len(other))
    for pairs in (same, other):
        if not np.isfinite(pairs.distances_N).all():
            raise EvaluationError(
                "a distance is NaN or infinite, so there is no threshold; look for non-finite "
                "embeddings or weights in the checkpoint"
            )
    num_allowed = int(false_match_rate * len(other) * (1 + 1e-12))  # 0.001 * 3000 is 3, not 2.99...
    threshold = float(np.partition(other.distances_N, num_allowed)[num_allowed])
    generator = np.random.default_rng(seed)
    false_match, num_false = _rate_below(threshold, other, generator=generator)
    true_match, _ = _rate_below(threshold, same, generator=generator)
    return Calibration(
        requested=false_match_rate,
        threshold=threshold,
        false_match=false_match,
        true_match=true_match,
        num_false=num_false,
        num_same=len(same),
        num_other=len(other),
        num_people=len(np.unique(other.people_N)),
    )


def trade_off(
    same: Pairs, other: Pairs, *, num_points: int = 400
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ROC curve of all thresholds: false-match rates, and the true-match rate at each.

    Args:
        same: pairs of one person, at least one.
        other: pairs of two people, at least one.
        num_points: how many, spread evenly over the logarithm of the false-match rate.

    Returns:
        Both (at most `num_points`,), rising.
    """
    other_N, same_N = np.sort(other.distances_N), np.sort(same.distances_N)
    counts = np.unique(np.geomspace(1, len(other_N), num_points).astype(np.int64))
    # As in `calibrate`: below the distance of the next pair.
    thresholds = np.append(other_N, np.inf)[counts]
    return (
        np.searchsorted(other_N, thresholds) / len(other_N),
        np.searchsorted(same_N, thresholds) / len(same_N),
    )


def _rate_below(
    threshold: float, pairs: Pairs, *, generator: np.random.Generator
) -> tuple[Rate, int]:
    below_N = pairs.distances_N < threshold
    people, of_people_N = np.unique(pairs.people_N, return_inverse=True)
    num_people = len(people)
    pairs_P = np.bincount(of_people_N, minlength=num_people)
    below_P = np.bincount(of_people_N[below_N], minlength=num_people)
    num_below = int(below_P.sum())
    value = num_below / len(pairs)
    if num_people == 1:
        return Rate(value=value, low=0.0, high=1.0), num_below
    if num_below in (0, len(pairs)):
        unseen = min(1.0, 3 / num_people)
        low, high = (0.0, unseen) if num_below == 0 else (1 - unseen, 1.0)
        return Rate(value=value, low=low, high=high), num_below

    draws = generator.multinomial(num_people, np.full(num_people, 1 / num_people), NUM_RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile((draws @ below_P) / (draws @ pairs_P), (tail, 1 - tail))
    return Rate(value=value, low=float(low), high=float(high)), num_below
