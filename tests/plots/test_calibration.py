import numpy as np
import pytest

from daam.metrics.calibration import Pairs, calibrate
from daam.plots.calibration import draw_calibration
from daam.plots.palette import INK
from tests.support.drawn_pixels import num_pixels, pixels


def pairs_of(distances):
    return Pairs(
        distances_N=np.array(distances, np.float32), people_N=np.arange(len(distances)) % 9
    )


def random_pairs(*, centre, count):
    return pairs_of(np.random.default_rng(0).normal(centre, 0.1, count))


def calibration_chart(to, *, same, other, calibration=None):
    draw_calibration(
        same, other, calibration=calibration, title="title", subtitle="subtitle", to=to
    )
    return pixels(to)


@pytest.mark.parametrize("centre", [0.3, 0.9])  # a good network and a bad one
def test_a_threshold_is_marked(tmp_path, centre):
    same, other = random_pairs(centre=centre, count=200), random_pairs(centre=1.0, count=5000)
    without = calibration_chart(tmp_path / "a.png", same=same, other=other)
    found = calibrate(same, other, false_match_rate=0.01, seed=0)
    marked = calibration_chart(tmp_path / "b.png", same=same, other=other, calibration=found)
    assert num_pixels(marked, INK) > num_pixels(without, INK) + 300


@pytest.mark.parametrize("same", [[0.5], [0.2, 0.2, 0.2]])
def test_a_few_pairs_and_equal_ones_can_be_drawn(tmp_path, same):
    calibration_chart(tmp_path / "a.png", same=pairs_of(same), other=pairs_of([0.2]))
