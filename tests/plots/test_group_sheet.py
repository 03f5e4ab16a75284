import numpy as np
import pytest

from daam.errors import EvaluationError
from daam.plots.group_sheet import GroupRow, draw_groups
from tests.support.drawn_pixels import flat, num_pixels, pixels


def test_each_image_of_each_group_is_shown(tmp_path):
    to = tmp_path / "groups.png"
    levels = [[20, 60, 100], [140], [180, 220]]
    rows = [
        GroupRow(caption="3 images, camera 1", images=[flat(level) for level in row])
        for row in levels
    ]
    draw_groups(rows, title="title", subtitle="subtitle", to=to)
    picture = pixels(to)
    for level in np.concatenate(levels):
        # 96 x 48 pixels; text in this very grey is far less.
        assert num_pixels(picture, f"#{level:02x}{level:02x}{level:02x}") >= 96 * 48


def test_images_of_several_sizes_are_refused(tmp_path):
    rows = [GroupRow(caption="two", images=[flat(1), flat(1, height=8)])]
    with pytest.raises(EvaluationError, match="decode all to one size"):
        draw_groups(rows, title="", subtitle="", to=tmp_path / "groups.png")
