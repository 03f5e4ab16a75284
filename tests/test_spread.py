import numpy as np
import pytest

from daam.spread import spread_evenly


@pytest.mark.parametrize(("num_rows", "count"), [(10, 3), (1000, 512), (7, 7), (5, 12), (1, 4)])
def test_rows_are_spread_from_the_first_to_the_last(num_rows, count):
    rows = spread_evenly(num_rows, count=count)
    assert len(rows) == min(num_rows, count)
    assert (rows[0], rows[-1]) == (0, num_rows - 1)
    gaps = np.diff(rows)
    assert len(gaps) == 0 or gaps.min() >= max(1, gaps.max() - 1)


def test_one_row_is_the_first_and_of_none_there_is_none():
    assert spread_evenly(9, count=1).tolist() == [0]
    assert spread_evenly(0, count=5).tolist() == []
