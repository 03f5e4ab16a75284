"""Random numbers without state: a draw is a pure function of the integers that name it.

A generator's numbers depend on how many were taken before. These don't, so a result can be the
same for any number of threads and ranks, any other images in the batch, and any step that a run
resumes at.
"""

import numpy as np

Key = int | np.ndarray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def draw_bits(*keys: Key) -> np.ndarray:
    """64 random bits for each combination of keys: uint64, of the shape the keys broadcast to.

    The order of the keys counts. Each is absorbed by a round of SplitMix64 (Steele et al. 2014,
    "Fast splittable pseudorandom number generators").
    """
    state = np.zeros(1, dtype=np.uint64)
    for key in keys:
        # Arrays wrap around silently where numpy scalars would warn: hence at least one dimension.
        absorbed = np.atleast_1d(np.asarray(key)).astype(np.uint64)
        state = _scramble(_scramble(absorbed) ^ state)
    return state.reshape(np.broadcast_shapes(*(np.shape(key) for key in keys)))


def draw_uniform(*keys: Key) -> np.ndarray:
    """A float64 in [0, 1) for each combination of keys."""
    return (draw_bits(*keys) >> np.uint64(11)) * 2.0**-53


def _scramble(state: np.ndarray) -> np.ndarray:
    state = state + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))
