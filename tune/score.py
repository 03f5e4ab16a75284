"""One number from the scores of several transfers."""

from collections.abc import Mapping
from statistics import fmean


def aggregated(scores: Mapping[str, float], *, how: str) -> float:
    """Return the mean or the worst of the transfers' scores."""
    return min(scores.values()) if how == "worst" else fmean(scores.values())
