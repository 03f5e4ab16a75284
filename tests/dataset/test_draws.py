import numpy as np
import pytest

from daam.dataset.draws import draw_bits, draw_uniform


def test_a_draw_depends_on_its_keys_alone():
    rows = np.array([5, 7, 5, 9])
    together = draw_uniform(3, rows, 1)
    assert together.tolist() == [float(draw_uniform(3, int(row), 1)) for row in rows]


def test_draws_have_the_shape_their_keys_broadcast_to():
    assert draw_bits(1, 2).shape == ()
    assert draw_bits(np.zeros((4, 1), dtype=np.int64), np.arange(3)).shape == (4, 3)


def test_every_key_and_the_order_of_keys_count():
    named = {int(draw_bits(*keys)) for keys in [(1, 2), (2, 1), (1,), (2,), (1, 2, 0), (0, 1, 2)]}
    assert len(named) == 6


@pytest.mark.parametrize("other_keys", [(0,), (0, 0, 17), (12345, 678, 9)])
def test_neighbouring_keys_draw_uniform_and_unrelated_numbers(other_keys):
    values = draw_uniform(*other_keys, np.arange(100_000))
    assert values.min() >= 0
    assert values.max() < 1
    share_in_bin = np.histogram(values, bins=20, range=(0, 1))[0] / len(values)
    assert share_in_bin == pytest.approx(0.05, abs=0.004)
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.02
    next_draw = draw_uniform(*other_keys[:-1], other_keys[-1] + 1, np.arange(100_000))
    assert abs(np.corrcoef(values, next_draw)[0, 1]) < 0.02


@pytest.mark.parametrize("key", [0, 1, 12345, 2**63, 2**64 - 1])
def test_a_number_draws_what_an_array_of_it_draws(key):
    as_array = np.array([key], dtype=np.uint64)
    expected = draw_bits(as_array, as_array, as_array).tolist()
    assert draw_bits(key, as_array, key).tolist() == expected
    assert draw_bits(as_array, key, key).tolist() == expected
    assert [int(draw_bits(key, key, key))] == expected
