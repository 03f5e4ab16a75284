"""What is fuzzed: a format, real files of it, and the code that reads it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One format.

    Attributes:
        name: of the format, in a few words.
        samples: real files; each must be read as right.
        mutated: a strategy for inputs that are close to them.
        read: reads an input as daam does, with checksums and sizes around it recomputed. It returns
            if the result is right for the input, raises AssertionError if it is wrong, and a
            DaamError if daam refuses it. It may use the folder, which is its own.
    """

    name: str
    samples: Sequence[bytes]
    mutated: SearchStrategy[bytes]
    read: Callable[[bytes, Path], None]
