import numpy as np
import pytest

from daam.errors import EvaluationError
from daam.plots.attention_maps import AttentionMap, draw_attention_maps
from tests.support.drawn_pixels import flat, image_rows, images_in, pixels


def attention_maps(to, *, shared, images=None):
    images = [flat(128)] * len(shared) if images is None else images
    maps = [
        AttentionMap(image=image, shared=share, caption="campus")
        for image, share in zip(images, shared, strict=True)
    ]
    draw_attention_maps(maps, title="title", subtitle="subtitle", to=to)


def panels(path):
    """The panels of the first line, left to right, without the colour bar."""
    picture = pixels(path)
    top, bottom = image_rows(picture)[0]
    return [picture[top:bottom, left:right] for left, right in images_in(picture[top:bottom])]


def test_the_specific_part_shows_the_complement_of_the_shared(tmp_path):
    shared = np.linspace(0.2, 0.8, 8, dtype=np.float32)[None, :, None].repeat(4, axis=2)
    attention_maps(tmp_path / "maps.png", shared=shared)
    _, shared_panel, specific_panel = panels(tmp_path / "maps.png")
    upside_down = specific_panel[::-1].astype(int)
    assert np.abs(shared_panel.astype(int) - upside_down).max() <= 2
    dark, bright = shared_panel[2].mean(), shared_panel[-3].mean()
    assert bright > dark + 30  # the colour map rises in lightness


def test_the_brightest_place_is_where_the_attention_is(tmp_path):
    shared = np.full((2, 8, 4), 0.1, np.float32)
    shared[0, 1, 3], shared[1, 6, 0] = 0.9, 0.9
    attention_maps(tmp_path / "maps.png", shared=shared)
    found = panels(tmp_path / "maps.png")
    assert len(found) == 6
    for panel, (row, column) in ((found[1], (1, 3)), (found[4], (6, 0))):
        lightness = panel.sum(axis=2)
        y, x = np.unravel_index(lightness.argmax(), lightness.shape)
        assert int(y * 8 / len(panel)) == row
        assert int(x * 4 / panel.shape[1]) == column


def test_attention_that_is_the_same_everywhere_looks_so(tmp_path):
    shared = 0.5 + np.random.default_rng(0).normal(0, 1e-6, (1, 8, 4))
    attention_maps(tmp_path / "maps.png", shared=shared)
    _, shared_panel, specific_panel = panels(tmp_path / "maps.png")
    assert np.ptp(shared_panel[4:-4, 4:-4], axis=(0, 1)).max() <= 1
    assert np.abs(shared_panel.astype(int) - specific_panel).max() <= 1


@pytest.mark.parametrize(("num_images", "num_lines"), [(1, 1), (5, 2), (9, 3)])
def test_images_fill_line_after_line(tmp_path, num_images, num_lines):
    attention_maps(tmp_path / "maps.png", shared=np.full((num_images, 4, 2), 0.5))
    assert len(image_rows(pixels(tmp_path / "maps.png"))) == num_lines


@pytest.mark.parametrize(
    ("shared", "images", "says"),
    [
        (np.zeros((0, 4, 2)), [], "no image"),
        (np.zeros((2, 4, 2)), [flat(1), flat(1, height=8)], "one size"),
        (np.full((1, 4, 2), 1.5), [flat(1)], "not within 0 to 1"),
        (np.full((1, 4, 2), -0.1), [flat(1)], "not within 0 to 1"),
        (np.full((1, 4, 2), np.nan), [flat(1)], "not within 0 to 1"),
    ],
)
def test_maps_that_cannot_be_drawn_are_refused_and_leave_nothing(tmp_path, shared, images, says):
    with pytest.raises(EvaluationError, match=says):
        attention_maps(tmp_path / "maps.png", shared=shared, images=images)
    assert list(tmp_path.iterdir()) == []
