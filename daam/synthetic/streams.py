"""Named random streams: the same words give the same numbers in every process."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def stream(*key: str | int) -> np.random.Generator:
    """A generator that depends on the words of its name and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(digest[:16]))))


def pick(generator: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(generator.integers(len(options)))]


def choose(generator: np.random.Generator, options: Sequence[tuple[T, float]]) -> T:
    """One of the options, each drawn in proportion to its weight."""
    total = sum(weight for _, weight in options)
    mark = generator.random() * total
    for value, weight in options:
        mark -= weight
        if mark < 0:
            return value
    return options[-1][0]
