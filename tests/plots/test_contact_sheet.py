from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.errors import ConfigError
from daam.plots.contact_sheet import draw_contact_sheet
from daam.storage import Store, open_store
from tests.support.drawn_pixels import flat, pixels

HEIGHT, WIDTH = 32, 16


def grey_domain(folder: Path, *, people: Sequence[int]) -> Store:
    """People in grey, each of a level of their own, once under each of two cameras."""
    for part, identities in {
        "bounding_box_train": people,
        "query": [9],
        "bounding_box_test": [9],
    }.items():
        (folder / "raw" / part).mkdir(parents=True)
        for person in identities:
            for camera in (1, 2):
                image = simplejpeg.encode_jpeg(flat(25 * person, height=HEIGHT, width=WIDTH))
                name = f"{person:04d}_c{camera}s1_{10 * person + camera:06d}_00.jpg"
                (folder / "raw" / part / name).write_bytes(image)
    store = open_store(str(folder / "store"))
    index = read_layout("market1501", folder / "raw")
    import_domain(index, domain="grey", to=store, validation_share=0)
    return store


def test_people_are_spread_over_the_domain_with_all_their_images_in_a_row(tmp_path):
    store = grey_domain(tmp_path, people=range(1, 6))
    draw_contact_sheet(store, domain="grey", num_people=3, to=tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png").astype(int)
    tops = []
    for person in (1, 3, 5):
        shown = (np.abs(sheet - 25 * person) <= 1).all(axis=2)
        lines = np.flatnonzero(shown.sum(axis=1) >= 2 * WIDTH)
        assert len(lines) == HEIGHT
        tops.append(lines[0])
    assert tops == sorted(tops)


def test_another_format_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match=r"neither .png nor .svg"):
        draw_contact_sheet(
            open_store(str(tmp_path)), domain="moon", num_people=3, to=tmp_path / "sheet.gif"
        )
