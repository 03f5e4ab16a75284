"""Line charts of values over epochs, in the colours of a page's series."""

import math
from collections.abc import Mapping, Sequence

from daam.plots.chart import Chart, line_sample, linear_axis, whole_axis
from daam.plots.palette import DASHES
from daam.spread import spread_evenly

Points = Sequence[tuple[float, float]]

MAX_SPOTS = 200  # per line, that show their values under the mouse


def curves(
    series: Mapping[str, Points],
    *,
    title: str,
    note: str = "",
    limits: tuple[float | None, float | None] = (None, None),
) -> str:
    """Return a chart with its title and legend.

    Args:
        series: name -> (epoch, value) in rising order of epochs; values that are not finite are
            left out. At most eight have colours of their own, by their place; one without values
            keeps its place.
        title: plain text.
        note: what the values are, plain text.
        limits: of the values' axis; None is that of the data.
    """
    drawn = {
        name: [point for point in points if math.isfinite(point[1])]
        for name, points in series.items()
    }
    numbers = {name: number for number, name in enumerate(drawn)}  # of colours: gaps stay gaps
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ""
    chart = Chart(
        x=whole_axis((epoch for points in drawn.values() for epoch, _ in points), title="epoch"),
        y=linear_axis((value for points in drawn.values() for _, value in points), limits=limits),
    )
    for name, points in drawn.items():
        number = numbers[name]
        chart.line(points, colour=colour(number), dash=dash(number))
        for at in spread_evenly(len(points), count=MAX_SPOTS):
            epoch, value = points[at]
            chart.spot(epoch, value, text=f"{name}, epoch {epoch:g}: {value:.4g}")
    legend = {
        name: line_sample(colour(numbers[name]), dash=dash(numbers[name]))
        for name in drawn
        if len(drawn) > 1  # one line is what the title says
    }
    return chart.as_html(title=title, note=note, legend=legend)


def colour(number: int) -> str:
    """Return a series' colour, a variable of the page's CSS."""
    return f"var(--series-{number % len(DASHES) + 1})"


def dash(number: int) -> str:
    """Return a series' dash, so that lines differ without their colours."""
    return DASHES[number % len(DASHES)]
