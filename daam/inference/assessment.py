"""Is it any good? Scores of a run on a domain without labels, and an estimate of its mAP from them.

Shapes: N = images, C = embedding width.

The estimate is a ridge regression of logit(mAP) on a few scores, fitted on rendered domains by
`benchmarks/assessment.py`, which also measures how far off it is on transfers it was not fitted to.
Without cameras the scores order the runs of a domain, but do not tell how good any of them is.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Self

import numpy as np
from torch import Tensor

from daam.metrics.diagnostics import silhouette
from daam.metrics.label_free import (
    camera_share,
    group_agreement,
    mutual_across_cameras,
    neighbour_overlap,
    neighbourhood_density,
    one_camera_share,
    self_retrieval,
    track_agreement,
)
from daam.pseudo_labels.grouping import PseudoLabels, pseudo_labels

FIT = "assessment_fit.json"
# The scores of an estimate, by what the domain knows; the first whose scores are all there is used.
ESTIMATED_FROM = {
    "cameras and tracks": (
        "self_retrieval",
        "neighbour_overlap",
        "camera_share",
        "track_agreement",
    ),
    "cameras": ("self_retrieval", "neighbour_overlap", "camera_share"),
}
NO_CAMERAS = "neither"
BEYOND = 0.5  # standard deviations outside of the fit's runs, up to which it still estimates
RANKED_BY = "self_retrieval"
CONFIDENCE = 0.9
# One way of grouping for all runs, so that their scores compare; not the run's own settings.
NUM_NEIGHBOURS, NUM_EXPANSION, EPS, MIN_SAMPLES = 16, 4, 0.6, 4
NUM_CAMERA_NEIGHBOURS, NUM_MUTUAL, NUM_OVERLAP, NUM_TRACK = 10, 4, 10, 5
# Signs that a run is broken: no run of the benchmark beyond one of these reached an mAP of .2.
MANY_OUTLIERS, ONE_CAMERA_GROUPS, LARGE_GROUP = 0.8, 0.8, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFree:
    """The scores of an embedding, and the groups that some of them are about.

    Attributes:
        scores: by name, see `daam.metrics.label_free`; what cannot be known is missing.
        groups: of the unchanged images.
    """

    scores: dict[str, float]
    groups: PseudoLabels


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A ridge regression of logit(mAP) on standardised scores, as it lies in the package.

    Attributes:
        scores: names, in the order of the other lists.
        mean: of each score in the fit.
        std: likewise.
        low: the smallest value of each in the fit; half a standard deviation below it, or above
            `high`, nothing is estimated.
        high: the largest.
        weights: of the standardised scores.
        intercept: logit(mAP) at the means.
        half_width: of the interval, in logit(mAP): the quantile of the errors on transfers that
            were left out.
    """

    scores: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    half_width: float

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read one of the fits in `assessment_fit.json`."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document.items()
        }
        return cls(**values)

    def logit(self, scores: Mapping[str, float]) -> float:
        """The expected logit(mAP) of a run with these scores."""
        return self.intercept + sum(
            weight * (scores[name] - mean) / std
            for name, mean, std, weight in zip(
                self.scores, self.mean, self.std, self.weights, strict=True
            )
        )

    def beyond(self, scores: Mapping[str, float]) -> list[str]:
        """Name the scores that lie well outside of what the fit has seen."""
        return [
            name
            for name, low, high, std in zip(self.scores, self.low, self.high, self.std, strict=True)
            if not low - BEYOND * std <= scores[name] <= high + BEYOND * std
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredChoice:
    """What choosing the best of several settings by the ranking score gave in the benchmark.

    Attributes:
        rank_correlation: of score and mAP within a transfer, as the mean over the transfers.
        num_settings: that were chosen from.
        num_transfers: between rendered domains; the score was fitted to others.
        chosen: mean mAP of the settings with the highest score.
        defaults: mean mAP of the defaults.
        best: mean mAP of the best settings, which only labels find.
    """

    rank_correlation: float
    num_settings: int
    num_transfers: int
    chosen: float
    defaults: float
    best: float

    @property
    def summary(self) -> str:
        """The result in a sentence, to stand beside every choice that is made by the score."""
        return (
            f"On {self.num_transfers} rendered transfers the best of {self.num_settings} settings "
            f"by this score had a mean mAP of {self.chosen:.3f}, the defaults {self.defaults:.3f} "
            f"and the best by labels {self.best:.3f}; rank correlation with mAP "
            f"{self.rank_correlation:.2f}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimate of mAP; `low` to `high` held 90 % of the runs on transfers that were left out."""

    mean_average_precision: float
    low: float
    high: float
    made_from: str
    """What the domain knows that it needs: `cameras`, or `cameras and tracks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What can be said about a run on a domain without labels.

    Attributes:
        ranking_score: orders the runs of one domain, higher is better; 0 to 1. What the fit says,
            also where that is no estimate; without a fit, the agreement under augmentation.
        estimate: of mAP; None where it cannot be had honestly, which `warnings` then explains.
        scores: that both come from, and others.
        num_images: that were looked at.
        num_groups: that they fall into.
        warnings: what limits this assessment, and signs that the run is broken.
    """

    ranking_score: float
    estimate: Estimate | None
    scores: dict[str, float]
    num_images: int
    num_groups: int
    warnings: list[str]

    @property
    def summary(self) -> str:
        """The result in a sentence, for a model card."""
        found = self.estimate
        if found is None:
            return f"no estimate of mAP; ranking score {self.ranking_score:.3f}."
        return (
            f"mAP estimated at {found.mean_average_precision:.2f} ({found.low:.2f} to "
            f"{found.high:.2f}), by a fit to rendered domains."
        )

    def as_document(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {"summary": self.summary} | asdict(self)


def label_free_scores(
    views: Mapping[str, Tensor],
    *,
    cameras: np.ndarray | None = None,
    tracks: np.ndarray | None = None,
    seed: int = 1,
) -> LabelFree:
    """Compute every score that a domain's images, cameras and tracks allow.

    Args:
        views: of the same images, each (N, C), L2-normalised: `plain` and changed ones.
        cameras: (N,); None: unknown.
        tracks: (N,); None: unknown.
        seed: of the silhouette's sample.
    """
    plain_NC = views["plain"]
    changed = [embeddings_NC for name, embeddings_NC in views.items() if name != "plain"]
    groups, *of_changed = (grouped(embeddings_NC) for embeddings_NC in (plain_NC, *changed))
    found: dict[str, float | None] = {
        "self_retrieval": float(np.mean([self_retrieval(plain_NC, view) for view in changed])),
        "neighbour_overlap": _mean(
            [neighbour_overlap(plain_NC, view, k=NUM_OVERLAP) for view in changed]
        ),
        "group_agreement": float(
            np.mean([group_agreement(groups.groups, other.groups) for other in of_changed])
        ),
        "silhouette": silhouette(plain_NC, groups.groups, seed=seed),
        "neighbourhood_density": neighbourhood_density(plain_NC),
        "outlier_share": groups.outlier_share,
        "largest_group_share": float(
            np.bincount(groups.groups[groups.groups >= 0], minlength=1).max() / len(plain_NC)
        ),
    }
    if cameras is not None:
        found |= {
            "camera_share": camera_share(plain_NC, cameras, k=NUM_CAMERA_NEIGHBOURS),
            "mutual_across_cameras": mutual_across_cameras(plain_NC, cameras, k=NUM_MUTUAL),
            "one_camera_share": one_camera_share(groups.groups, cameras),
        }
    if cameras is not None and tracks is not None:
        found["track_agreement"] = track_agreement(plain_NC, tracks, cameras, k=NUM_TRACK)
    scores = {name: value for name, value in found.items() if value is not None}
    return LabelFree(scores=scores, groups=groups)


def grouped(embeddings_NC: Tensor) -> PseudoLabels:
    """Group images in the one way that all assessments share."""
    return pseudo_labels(
        embeddings_NC, k1=NUM_NEIGHBOURS, k2=NUM_EXPANSION, eps=EPS, min_samples=MIN_SAMPLES
    )


def assess(found: LabelFree) -> Assessment:
    """Estimate the mAP of a run from its scores, where that can be done."""
    scores, groups = found.scores, found.groups
    estimate, reasons = estimate_of(scores)
    usable = usable_fits(scores)
    return Assessment(
        ranking_score=share_of(usable[0][1].logit(scores)) if usable else scores[RANKED_BY],
        estimate=estimate,
        scores=scores,
        num_images=len(groups.groups),
        num_groups=groups.num_groups,
        warnings=[*reasons, *warnings_of(scores, num_groups=groups.num_groups)],
    )


def estimate_of(scores: Mapping[str, float]) -> tuple[Estimate | None, list[str]]:
    """Return an estimate of mAP, or None and why there is none."""
    usable = usable_fits(scores)
    if not usable:
        return None, [
            "without two cameras there is no estimate of mAP, only a score that tells broken runs "
            "on this domain from sound ones; import it with its cameras if they are known, or "
            "answer fifty questions with daam label"
        ]
    made_from, fit = usable[0]
    beyond = fit.beyond(scores)
    if beyond:
        return None, [
            f"the estimate was fitted to no run with such values of {' and '.join(beyond)}, so "
            "there is none; answer fifty questions with daam label instead"
        ]
    logit = fit.logit(scores)
    return Estimate(
        mean_average_precision=share_of(logit),
        low=share_of(logit - fit.half_width),
        high=share_of(logit + fit.half_width),
        made_from=made_from,
    ), []


def usable_fits(scores: Mapping[str, float]) -> list[tuple[str, Fitted]]:
    """Return the fits whose scores are all known, the one that needs most first."""
    return [
        (made_from, fit)
        for made_from, fit in fits().items()
        if all(name in scores for name in fit.scores)
    ]


def measured_choice(scores: Mapping[str, float]) -> MeasuredChoice:
    """Return what choosing by the ranking score gave, for domains that know as much as this one.

    Args:
        scores: of an assessment.
    """
    usable = usable_fits(scores)
    return MeasuredChoice(**_fit_document()["choices"][usable[0][0] if usable else NO_CAMERAS])


def warnings_of(scores: Mapping[str, float], *, num_groups: int) -> list[str]:
    """Name signs that a run is broken, whatever its estimate says."""
    found = []
    if num_groups < 2:
        found.append(
            f"the images fall into {num_groups} groups: the embedding does not tell people apart"
        )
    if scores["outlier_share"] > MANY_OUTLIERS:
        found.append(f"{scores['outlier_share']:.0%} of the images are in no group")
    if scores["largest_group_share"] > LARGE_GROUP:
        found.append(f"one group holds {scores['largest_group_share']:.0%} of the images")
    if scores.get("one_camera_share", 0) > ONE_CAMERA_GROUPS:
        found.append(
            f"{scores['one_camera_share']:.0%} of the groups are of one camera: groups may be "
            "cameras, not people"
        )
    return found


@cache
def fits() -> dict[str, Fitted]:
    """The fits that the package comes with, the one that needs most first."""
    fitted = _fit_document()["fits"]
    return {made_from: Fitted.from_document(fitted[made_from]) for made_from in ESTIMATED_FROM}


@cache
def _fit_document() -> dict[str, Any]:
    return json.loads(files("daam.inference").joinpath(FIT).read_text())


def share_of(logit: float) -> float:
    """The share from 0 to 1 that has this logit."""
    return 1 / (1 + math.exp(-logit))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
