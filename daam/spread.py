"""Rows spread evenly over a split: a sample that needs no generator and is the same every time."""

import numpy as np
from numpy.typing import NDArray


def spread_evenly(num_rows: int, *, count: int) -> NDArray[np.int64]:
    """At most `count` of `num_rows` rows, in rising order, from the first to the last."""
    return np.linspace(0, max(0, num_rows - 1), min(count, num_rows)).astype(np.int64)
