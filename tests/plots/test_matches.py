"""The sheet of matches: what is below the threshold looks it, and images keep their proportions."""

from pathlib import Path

import pytest

from daam.plots.matches import ShownMatch, ShownQuery, draw_matches
from daam.plots.palette import GREEN
from tests.support.drawn_pixels import flat, num_pixels, pixels


def drawn(to: Path, *, below: int, above: int, legend: str | None = "below .3") -> None:
    matches = [
        ShownMatch(image=flat(100), caption="0.1\ncamera 3", is_match=number < below)
        for number in range(below + above)
    ]
    query = ShownQuery(image=flat(50), caption="photo.jpg", matches=matches)
    draw_matches([query], title="a", subtitle="b", legend=legend, to=to)


def test_each_match_below_the_threshold_has_a_green_frame(tmp_path: Path) -> None:
    counts = []
    for below in range(3):
        drawn(tmp_path / "sheet.png", below=below, above=3 - below)
        counts.append(num_pixels(pixels(tmp_path / "sheet.png"), GREEN))
    assert counts[2] - counts[1] == pytest.approx(counts[1] - counts[0], rel=0.02)
    assert counts[1] > 1.5 * counts[0] > 0  # the legend's


def test_without_a_threshold_nothing_is_green(tmp_path: Path) -> None:
    drawn(tmp_path / "sheet.png", below=0, above=3, legend=None)
    assert num_pixels(pixels(tmp_path / "sheet.png"), GREEN) == 0


@pytest.mark.parametrize(("height", "width"), [(64, 32), (32, 64), (1, 300)])
def test_images_keep_their_proportions(height: int, width: int, tmp_path: Path) -> None:
    match = ShownMatch(image=flat(101, height=height, width=width), caption="", is_match=None)
    query = ShownQuery(image=flat(50), caption="a" * 60, matches=[match])
    draw_matches([query], title="", subtitle="", legend=None, to=tmp_path / "sheet.png")
    picture = pixels(tmp_path / "sheet.png")
    inside = (picture == 101).all(axis=2)
    tall, wide = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    assert max(tall / 192, wide / 112) == pytest.approx(1, abs=0.1)
    assert wide / tall == pytest.approx(min(width / height, 112), rel=0.1)
