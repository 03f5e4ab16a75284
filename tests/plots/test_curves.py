import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest

from daam.plots.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axis_ticks
from daam.plots.curves import curves


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (-0.31, 0.42), (0.5, 0.5), (0, 0), (2, 1), (1, 3), (78, 12_345), (1e-7, 3e-7)],
)
def test_ticks_are_few_equal_steps_around_the_range(low: float, high: float) -> None:
    ticks = axis_ticks(low, high)
    assert 3 <= len(ticks) <= 7
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= max(low, high) - abs(high) * 1e-6 or high < low
    steps = [after - before for before, after in itertools.pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_points_lie_inside_the_axes_and_the_largest_is_the_highest() -> None:
    chart = curves({"a": [(1, 0.5), (2, 3.0), (3, -1.0)], "b": [(2, 1.0)]}, title="Losses")
    (line,) = re.findall(r'polyline points="([^"]+)"', chart)
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert min(points, key=lambda point: point[1]) == points[1]
    assert "a, epoch 2: 3" in chart


def test_values_that_are_not_finite_and_empty_series_are_left_out() -> None:
    assert curves({"a": [], "b": [(1, math.nan)]}, title="Nothing") == ""
    points = [(1, 1.0), (2, math.inf), (3, 2.0)]
    chart = curves({"a": points, "b": [], "c": points}, title="Something")
    assert "nan" not in chart
    assert "inf" not in chart
    assert re.findall(r"series-(\d)[^>]+/></svg>(\w)</span>", chart) == [("1", "a"), ("3", "c")]


def test_a_chart_is_well_formed_and_text_is_escaped() -> None:
    chart = curves({"<b>": [(1, 1.0), (400, 1.0)]}, title="a < b & c", note="<i>")
    figure = ET.fromstring(chart)  # noqa: S314  (our own)
    assert figure.findtext("h3") == "a < b & c"
    assert figure.findtext("p") == "<i>"


def test_a_long_run_stays_a_small_page() -> None:
    chart = curves({"a": [(epoch, 1 / epoch) for epoch in range(1, 10_001)]}, title="Losses")
    assert chart.count("<title>") == 200
