"""Axes and marks of charts."""

import re
import xml.etree.ElementTree as ET

import pytest

from daam.plots.chart import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    WIDTH,
    Axis,
    Chart,
    category_axis,
    dot_sample,
    linear_axis,
    log_axis,
    shortened,
    whole_axis,
)


@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 50), (1e-4, 1e-2), (2e-3, 1.5e-2), (3, 4), (0.01, 1), (1, 1e6)]
)
def test_a_logarithmic_axis_has_labels_inside_its_range(low: float, high: float) -> None:
    axis = log_axis(low, high)
    assert 2 <= len(axis.ticks) <= 10
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in axis.ticks)
    assert (axis.share(low), axis.share(high)) == (0, 1)
    assert axis.share((low * high) ** 0.5) == pytest.approx(0.5)


def test_categories_stand_at_equal_distances() -> None:
    axis = category_axis(["a", "b", "c"])
    assert list(axis.ticks.values()) == ["a", "b", "c"]
    shares = [axis.share(place) for place in axis.ticks]
    assert shares == pytest.approx([1 / 6, 3 / 6, 5 / 6])
    assert category_axis(["only"]).share(0) == pytest.approx(0.5)


def test_labels_of_whole_numbers_are_whole() -> None:
    axis = whole_axis([1, 2, 3], title="trial", margin=0.5)
    assert (axis.low, axis.high) == (0.5, 3.5)
    assert set(axis.ticks) <= {1, 2, 3}
    assert whole_axis([7]).share(7) == 0.5


def test_marks_lie_between_the_margins() -> None:
    chart = Chart(x=linear_axis([0, 10]), y=linear_axis([0, 1]))
    chart.dot(0, 0, colour="red")
    chart.dot(10, 1, colour="red")
    places = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', "".join(chart.parts))
    (left, bottom), (right, top) = [(float(x), float(y)) for x, y in places]
    assert (left, right) == (chart.left, WIDTH - RIGHT)
    assert (bottom, top) == (HEIGHT - BOTTOM, chart.top)


def test_a_chart_of_every_mark_is_well_formed_and_escaped() -> None:
    chart = Chart(x=linear_axis([0, 1]), y=category_axis(["<a>", "b & c"]), width=260)
    chart.line([(0, 0), (1, 1)], colour="red", dash="3 3")
    chart.cross(0.5, 0, colour="red", text="<hint>")
    chart.bar(0, 0.5, 1, colour="red")
    chart.span(0.2, 0.4, 1)
    chart.rule(0.5, text="<rule>")
    chart.write("<text>", 0.5, 1)
    figure = ET.fromstring(  # noqa: S314  (our own)
        chart.as_html(title="<title>", note="<note>", legend={"<name>": dot_sample("red")})
    )
    texts = "".join(figure.itertext())
    for text in ("<a>", "b & c", "<hint>", "<rule>", "<text>", "<title>", "<note>", "<name>"):
        assert text in texts


def test_an_axis_without_extent_is_centred() -> None:
    assert Axis(ticks={}, low=3, high=3).share(3) == 0.5


def test_a_long_label_keeps_its_end() -> None:
    assert shortened("short") == "short"
    assert shortened("a." * 40 + "learning_rate").endswith("learning_rate")
    assert shortened("a." * 40).startswith("…")
