import numpy as np

from daam.plots.palette import CYCLE, LINE
from daam.plots.projection import Legend, draw_projection
from tests.support.drawn_pixels import num_pixels, pixels


def projection(to, *, panels, num_points=60):
    points = np.random.default_rng(0).normal(size=(num_points, 2))
    draw_projection(points, panels=panels, title="title", subtitle="one\ntwo", to=to)
    return pixels(to)


def legend(categories, names=("a", "b"), title="by domain"):
    return Legend(title=title, names=names, categories_N=np.array(categories))


def test_every_category_has_a_colour_that_no_other_panel_has(tmp_path):
    domains, cameras = np.arange(60) % 2, np.arange(60) % 3
    names = ("camera 1", "camera 2", "camera 3")
    picture = projection(tmp_path / "a.png", panels=[legend(domains), legend(cameras, names)])
    left, right = np.array_split(picture, 2, axis=1)
    for place, colour in enumerate(CYCLE[:5]):
        here, there = (left, right) if place < 2 else (right, left)
        assert num_pixels(here, colour) > 100
        assert num_pixels(there, colour) == 0


def test_points_of_no_category_are_pale(tmp_path):
    categories = np.full(60, -1)
    categories[0] = 0
    picture = projection(tmp_path / "a.png", panels=[legend(categories)])
    assert num_pixels(picture, LINE) > 5 * num_pixels(picture, CYCLE[0]) > 0


def test_fifteen_cameras_have_a_place_in_the_legend(tmp_path):
    few = projection(tmp_path / "a.png", panels=[legend(np.arange(60) % 2)])
    names = [f"camera {camera}" for camera in range(15)]
    many = projection(tmp_path / "b.png", panels=[legend(np.arange(60) % 15, names)])
    assert many.shape[0] > few.shape[0]


def test_the_same_points_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        projection(tmp_path / name, panels=[legend(np.arange(60) % 2)])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
