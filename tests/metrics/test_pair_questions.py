"""A few answers say how often pairs are of one person, as widely as they must."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from daam.metrics.pair_questions import PairQuestions

NUM_PAIRS = 600
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": lambda rank: 1 / (1 + np.exp(12 * (rank - 0.6))),
    "a step, which is no curve of the grid": lambda rank: np.where(rank < 0.5, 0.95, 0.3),
    "a straight line": lambda rank: 1 - 0.8 * rank,
    "hopeless": lambda rank: np.full_like(rank, 0.02),
}


@cache
def asked(name: str, *, seed: int) -> tuple[PairQuestions, np.ndarray, np.ndarray]:
    """Fifty questions, answered truthfully; the truth; the distances."""
    truth_N, distances_N = world(CURVES[name], seed=seed)
    questions = PairQuestions(distances_N, seed=seed)
    for _ in range(50):
        pair = questions.next_pair()
        assert pair is not None
        questions.answer(pair, same=bool(truth_N[pair]))
    return questions, truth_N, distances_N


def world(curve: Callable[[np.ndarray], np.ndarray], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs are of one person, and their distances."""
    generator = np.random.default_rng(seed)
    distances_N = np.sort(generator.beta(2, 5, NUM_PAIRS))
    return generator.random(NUM_PAIRS) < curve(np.arange(NUM_PAIRS) / NUM_PAIRS), distances_N


@pytest.mark.parametrize("name", CURVES)
def test_the_interval_holds_the_true_error_rate_about_as_often_as_it_says(name: str) -> None:
    held = 0
    for seed in range(20):
        questions, truth_N, _ = asked(name, seed=seed)
        found = questions.error_rate()
        held += found.low <= 1 - truth_N.mean() <= found.high
        assert found.high - found.low < 0.3
    assert held >= 17  # 95 % of 20 is 19; 16 or fewer have a chance of .3 %


def test_below_the_threshold_no_more_pairs_are_wrong_than_allowed() -> None:
    shares = []
    for seed in range(20):
        questions, truth_N, distances_N = asked("sigmoid", seed=seed)
        found = questions.threshold(allowed=0.1)
        assert found.low <= found.value <= found.high
        shares.append(1 - truth_N[distances_N <= found.value].mean())
    assert 0.04 < np.mean(shares) < 0.14


def test_where_no_pair_is_right_there_is_no_threshold() -> None:
    assert asked("hopeless", seed=1)[0].threshold().value == 0


def test_questions_are_narrower_than_as_many_pairs_at_random() -> None:
    widths = []
    for seed in range(20):
        found = asked("sigmoid", seed=seed)[0].error_rate()
        widths.append(found.high - found.low)
    share = asked("sigmoid", seed=0)[1].mean()
    assert np.mean(widths) < 0.8 * 2 * 1.96 * np.sqrt(share * (1 - share) / 50)


def test_every_pair_is_asked_once_and_then_none() -> None:
    questions = PairQuestions(np.array([0.1, 0.3, 0.2]), seed=1)
    found = []
    while (pair := questions.next_pair()) is not None:
        found.append(pair)
        questions.answer(pair, same=None)
    assert sorted(found) == [0, 1, 2]


@pytest.mark.parametrize("distances", [[0.4], [0.2, 0.2, 0.2]])
def test_one_pair_or_equal_distances_are_no_division_by_zero(distances: list[float]) -> None:
    questions = PairQuestions(np.array(distances), seed=1)
    questions.answer(0, same=True)
    assert 0 <= questions.error_rate().low <= questions.error_rate().high <= 1
    assert np.isfinite(questions.threshold().value)
