"""One number from the scores of several transfers."""

import pytest

from tune.score import aggregated


def test_the_mean_and_the_worst() -> None:
    scores = {"plaza->campus": 0.2, "campus->plaza": 0.5, "plaza->station": 0.8}
    assert aggregated(scores, how="mean") == pytest.approx((0.2 + 0.5 + 0.8) / 3)
    assert aggregated(scores, how="worst") == 0.2
