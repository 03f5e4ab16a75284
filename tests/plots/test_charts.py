import numpy as np
import pytest
from PIL import Image

from daam.errors import EvaluationError
from daam.metrics.calibration import Pairs, calibrate
from daam.plots.charts import PALE, PALETTE, Legend, draw_calibration, draw_projection
from daam.plots.sheet import INK


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def num_pixels(picture, colour):
    return int((picture == colour).all(axis=2).sum())


def projection(to, *, panels, num_points=60):
    points = np.random.default_rng(0).normal(size=(num_points, 2))
    draw_projection(points, panels=panels, title="title", subtitle="one\ntwo", to=to)
    return pixels(to)


def legend(kinds, names=("a", "b"), title="by domain"):
    return Legend(title=title, names=names, kinds_N=np.array(kinds))


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


# draw_projection


def test_every_kind_has_a_colour_that_no_other_panel_has(tmp_path):
    domains, cameras = np.arange(60) % 2, np.arange(60) % 3
    names = ("camera 1", "camera 2", "camera 3")
    picture = projection(tmp_path / "a.png", panels=[legend(domains), legend(cameras, names)])
    left, right = np.array_split(picture, 2, axis=1)
    for place, colour in enumerate(PALETTE[:5]):
        here, there = (left, right) if place < 2 else (right, left)
        assert num_pixels(here, colour) > 100
        assert num_pixels(there, colour) == 0


def test_points_of_no_kind_are_pale(tmp_path):
    kinds = np.full(60, -1)
    kinds[0] = 0
    picture = projection(tmp_path / "a.png", panels=[legend(kinds)])
    assert num_pixels(picture, PALE) > 10 * num_pixels(picture, PALETTE[0]) > 0


def test_fifteen_cameras_have_a_place_in_the_legend(tmp_path):
    few = projection(tmp_path / "a.png", panels=[legend(np.arange(60) % 2)])
    names = [f"camera {camera}" for camera in range(15)]
    many = projection(tmp_path / "b.png", panels=[legend(np.arange(60) % 15, names)])
    assert many.shape[0] > few.shape[0]


def test_the_same_points_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        projection(tmp_path / name, panels=[legend(np.arange(60) % 2)])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("kinds", "says"), [([0] * 59, "59 kinds for 60 points"), ([2] * 60, "2 names")]
)
def test_a_legend_that_does_not_fit_is_refused(tmp_path, kinds, says):
    with pytest.raises(EvaluationError, match=says):
        projection(tmp_path / "a.png", panels=[legend(kinds)])


def test_nothing_to_lay_out_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="0 points"):
        projection(tmp_path / "a.png", panels=[legend([])], num_points=0)
    with pytest.raises(EvaluationError, match="0 panels"):
        projection(tmp_path / "a.png", panels=[])


# draw_calibration


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


@pytest.mark.parametrize(("num_same", "num_other"), [(0, 5), (5, 0)])
def test_pairs_of_one_kind_alone_are_refused(tmp_path, num_same, num_other):
    with pytest.raises(EvaluationError, match=f"{num_same} pairs of one person and {num_other}"):
        calibration_chart(
            tmp_path / "a.png", same=pairs_of([0.5] * num_same), other=pairs_of([0.5] * num_other)
        )
