"""The interval of a paired difference holds the truth as often as it says."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tune.contenders.paired import paired_difference


def test_matches_the_t_test_of_scipy() -> None:
    generator = np.random.default_rng(3)
    scores, others = generator.normal(0.6, 0.1, 7), generator.normal(0.5, 0.1, 7)
    found = paired_difference(scores.tolist(), others.tolist(), confidence=0.9)
    interval = ttest_rel(scores, others).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(float(np.mean(scores - others)))
    assert found.num_above == int(np.count_nonzero(scores > others))


@pytest.mark.parametrize("num_pairs", [2, 3, 6])
def test_the_interval_holds_the_truth_as_often_as_it_says(num_pairs: int) -> None:
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        scores = generator.normal(0.03, 0.02, num_pairs)
        found = paired_difference(scores.tolist(), [0.0] * num_pairs, confidence=0.9)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.03 <= found.high
    assert held / 2000 == pytest.approx(0.9, abs=0.02)


def test_a_single_pair_has_no_interval() -> None:
    found = paired_difference([0.6], [0.5], confidence=0.95)
    assert (found.low, found.high, found.num_pairs) == (None, None, 1)
    assert found.mean == pytest.approx(0.1)
    assert not found.is_above
    assert not found.is_below


def test_equal_differences_are_beyond_doubt() -> None:
    assert paired_difference([0.75, 1.0], [0.5, 0.75], confidence=0.95).is_above
    assert paired_difference([0.5, 0.75], [0.75, 1.0], confidence=0.95).is_below
    equal = paired_difference([0.5, 0.5], [0.5, 0.5], confidence=0.95)
    assert not equal.is_above
    assert not equal.is_below
