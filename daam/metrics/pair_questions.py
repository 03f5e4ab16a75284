"""What a few answered pairs say about all pairs: an error rate and a threshold, with intervals.

A person is asked about pairs, "same person?". The chance that a pair is of one person falls with
its distance, as a curve with four parameters: p(d) = low + (high - low) / (1 + exp(s (d - m))).
Every curve of a grid starts equally likely, and each answer weighs the curves by how well they
foretold it. Which pair is asked next may depend on the answers so far without a bias, because it
depends on nothing else.

Shapes: N = pairs, G = curves of the grid, D = curves drawn from the posterior.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

MIDPOINTS = np.linspace(-4, 4, 33)  # in standard deviations of the distances from their median
SLOPES = np.geomspace(0.4, 20, 12)
LAPSES = (
    0.0,
    0.01,
    0.03,
    0.06,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.55,
    0.7,
    0.85,
)  # of the curve from 0 at its low end, 1 at its high
NUM_DRAWS = 2000
NUM_BINS = 20
INTERVAL = (2.5, 97.5)
ALLOWED_ERRORS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class PairQuestions:
    """Pairs by distance, what was answered about some of them, and what follows for all."""

    def __init__(self, distances_N: NDArray[np.floating], *, seed: int) -> None:
        """
        Args:
            distances_N: of all pairs that the numbers are about; at least one.
            seed: of the draws, and of which pair of a bin is asked.
        """
        self._distances_N = np.asarray(distances_N, np.float64)
        self._median = float(np.median(self._distances_N))
        self._scale = float(self._distances_N.std()) or 1.0
        curves = [
            (middle, slope, low, 1 - lapse)
            for middle, slope, low, lapse in product(MIDPOINTS, SLOPES, LAPSES, LAPSES)
            if low < 1 - lapse
        ]
        self._curves_G4 = np.array(curves)
        self._log_weights_G = np.zeros(len(curves))
        self._generator = np.random.default_rng(seed)
        order = np.argsort(self._distances_N, kind="stable")
        self._bins = np.array_split(order, min(NUM_BINS, len(order)))
        self._answered: set[int] = set()

    def answer(self, pair: int, *, same: bool | None) -> None:
        """Take an answer; None, cannot tell, only keeps the pair from being asked."""
        self._answered.add(pair)
        if same is not None:
            chance_G = self._chances(self._distances_N[[pair]], self._curves_G4)[:, 0]
            chance_G = chance_G if same else 1 - chance_G
            self._log_weights_G += np.log(np.maximum(chance_G, 1e-9))

    def next_pair(self) -> int | None:
        """The pair to ask about next; None once all are answered.

        Every second question goes through all distances evenly, so that no part of the curve is
        left to its shape alone. The others are asked where an answer is expected to narrow the
        error rate most.
        """
        left = [[pair for pair in pairs if pair not in self._answered] for pairs in self._bins]
        open_bins = [number for number, pairs in enumerate(left) if pairs]
        if not open_bins:
            return None
        num_answers = len(self._answered)
        if num_answers % 2:
            chosen = max(open_bins, key=self._gains().__getitem__)
        else:
            asked = [len(pairs) - len(rest) for pairs, rest in zip(self._bins, left, strict=True)]
            # Ends and middle first, so that the first answers already span the curve.
            spread = [int(f"{number:05b}"[::-1], 2) for number in range(len(self._bins))]
            chosen = min(open_bins, key=lambda number: (asked[number], spread[number]))
        return int(self._generator.choice(left[chosen]))

    def error_rate(self) -> Measured:
        """The share of all pairs that show two people."""
        chances_DN = self._drawn_chances(self._distances_N)
        # The pairs are a sample of what the curve would give, so they vary around it.
        spread_D = np.sqrt((chances_DN * (1 - chances_DN)).sum(axis=1)) / chances_DN.shape[1]
        noise_D = np.random.default_rng(1).standard_normal(len(spread_D)) * spread_D
        return _measured(np.clip(1 - chances_DN.mean(axis=1) + noise_D, 0, 1))

    def threshold(self, *, allowed: float = ALLOWED_ERRORS) -> Measured:
        """The largest distance below which at most a share of the pairs shows two people.

        0 where no pair may be trusted.
        """
        distances_N = np.sort(self._distances_N)
        errors_DN = 1 - self._drawn_chances(distances_N)
        below_DN = np.cumsum(errors_DN, axis=1) / np.arange(1, len(distances_N) + 1)
        found_D = np.array([_last_below(below_N, distances_N, allowed) for below_N in below_DN])
        low, high = np.percentile(found_D, INTERVAL)
        value = _last_below(below_DN.mean(axis=0), distances_N, allowed)
        return Measured(value=value, low=float(low), high=float(high))

    def _gains(self) -> NDArray[np.float64]:
        """How much an answer in each bin is expected to reduce the variance of the error rate."""
        centres = np.array([self._distances_N[pairs].mean() for pairs in self._bins])
        weights = np.array([len(pairs) for pairs in self._bins]) / len(self._distances_N)
        chances_DB = self._drawn_chances(centres)
        rate_D = chances_DB @ weights
        mean_B = chances_DB.mean(axis=0)
        covariance_B = ((chances_DB - mean_B) * (rate_D - rate_D.mean())[:, None]).mean(axis=0)
        return covariance_B**2 / np.maximum(mean_B * (1 - mean_B), 1e-6)

    def _drawn_chances(self, distances_M: NDArray[np.float64]) -> NDArray[np.float64]:
        """The chance of "same" at some distances under D curves of the posterior, (D, M)."""
        weights_G = np.exp(self._log_weights_G - self._log_weights_G.max())
        draw = np.random.default_rng(len(self._answered))
        chosen_D = draw.choice(len(weights_G), NUM_DRAWS, p=weights_G / weights_G.sum())
        curves, count = np.unique(chosen_D, return_counts=True)
        return np.repeat(self._chances(distances_M, self._curves_G4[curves]), count, axis=0)

    def _chances(
        self, distances_M: NDArray[np.float64], curves_C4: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        middle, slope, low, high = curves_C4.T[:, :, None]
        x_M = (distances_M - self._median) / self._scale
        return low + (high - low) / (1 + np.exp(np.clip(slope * (x_M - middle), -50, 50)))


def _measured(values_D: NDArray[np.float64]) -> Measured:
    low, high = np.percentile(values_D, INTERVAL)
    return Measured(value=float(values_D.mean()), low=float(low), high=float(high))


def _last_below(
    errors_N: NDArray[np.float64], distances_N: NDArray[np.float64], allowed: float
) -> float:
    below = np.flatnonzero(errors_N <= allowed)
    return float(distances_N[below[-1]]) if len(below) else 0.0
