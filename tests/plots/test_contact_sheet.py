"""The contact sheet."""

import numpy as np
import pytest
from PIL import Image

from daam.errors import DataError
from daam.plots.contact_sheet import write_contact_sheet


def grey(height: int, width: int, level: int) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_every_image_is_on_the_sheet_in_its_row(tmp_path):
    rows = [[grey(20, 10, 11), grey(20, 10, 22)], [grey(40, 20, 33)], []]
    write_contact_sheet(rows, titles=["one", "two", "none"], to=tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    for level in (11, 22, 33):
        assert (sheet == level).all(axis=2).sum() >= 20 * 10
    rows_of = {
        level: np.argwhere((sheet == level).all(axis=2))[:, 0].min() for level in (11, 22, 33)
    }
    assert rows_of[11] == rows_of[22] < rows_of[33]


def test_nothing_to_show_is_refused(tmp_path):
    with pytest.raises(DataError, match="no images"):
        write_contact_sheet([[]], titles=["empty"], to=tmp_path / "sheet.png")


def test_a_row_without_a_title_is_refused(tmp_path):
    with pytest.raises(DataError, match="one title per row"):
        write_contact_sheet([[grey(4, 4, 1)]], titles=[], to=tmp_path / "sheet.png")
