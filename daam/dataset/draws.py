"""Random numbers without state: a draw is a pure function of the integers that name it.

A generator's numbers depend on how many were taken before. These don't, so a result can be the
same for any number of threads and ranks, any other images in the batch, and any step that a run
resumes at.
"""

import itertools

import numpy as np

Key = int | np.ndarray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ALL_BITS = 2**64 - 1


def draw_bits(*keys: Key) -> np.ndarray:
    """64 random bits for each combination of keys: uint64, of the shape the keys broadcast to.

    The order of the keys counts. Each is absorbed by a round of SplitMix64 (Steele et al. 2014,
    "Fast splittable pseudorandom number generators").
    """
    numbers = list(itertools.takewhile(lambda key: isinstance(key, int), keys))
    number = 0
    for key in numbers:  # without NumPy: ten times as fast
        number = _scramble_number(_scramble_number(int(key)) ^ number)
    # Arrays wrap around silently where numpy scalars would warn: hence at least one dimension.
    state = np.full(1, number, dtype=np.uint64)
    for key in keys[len(numbers) :]:
        if isinstance(key, int):
            absorbed = np.uint64(_scramble_number(key))
        else:
            absorbed = _scramble(np.atleast_1d(key).astype(np.uint64))
        state = _scramble(absorbed ^ state)
    return state.reshape(np.broadcast_shapes(*(np.shape(key) for key in keys)))


def draw_uniform(*keys: Key) -> np.ndarray:
    """A float64 in [0, 1) for each combination of keys."""
    return (draw_bits(*keys) >> np.uint64(11)) * 2.0**-53


def _scramble(state: np.ndarray) -> np.ndarray:
    state = state + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def _scramble_number(state: int) -> int:
    """The same of one integer, without NumPy."""
    state = (state + int(_GOLDEN)) & _ALL_BITS
    state = ((state ^ (state >> 30)) * int(_MIX_1)) & _ALL_BITS
    state = ((state ^ (state >> 27)) * int(_MIX_2)) & _ALL_BITS
    return state ^ (state >> 31)
