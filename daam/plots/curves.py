"""Line charts as SVG inside HTML pages: values over epochs, in the colours of the page's CSS."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from daam.plots.palette import DASHES
from daam.spread import spread_evenly

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 520, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 26  # margins of the area that holds the lines
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
    values = [value for points in drawn.values() for _, value in points]
    epochs = [epoch for points in drawn.values() for epoch, _ in points]
    rows = axis_ticks(
        min(values) if limits[0] is None else limits[0],
        max(values) if limits[1] is None else limits[1],
    )
    columns = [tick for tick in axis_ticks(min(epochs), max(epochs)) if tick == int(tick)]
    columns = [tick for tick in columns if min(epochs) <= tick <= max(epochs)]
    span = max(epochs) - min(epochs)

    def place(epoch: float, value: float) -> tuple[float, float]:
        across = (epoch - min(epochs)) / span if span else 0.5
        up = (value - rows[0]) / (rows[-1] - rows[0])
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    parts = list(grid(rows, columns, place=place))
    for name, points in drawn.items():
        number = numbers[name]
        places = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        if len(points) == 1:
            ((x, y),) = places
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour(number)}"/>')
        else:
            parts.append(f'<polyline points="{path}" {stroke(number)}/>')
        for at in spread_evenly(len(points), count=MAX_SPOTS):
            (x, y), (epoch, value) = places[at], points[at]
            parts.append(
                f'<circle class="spot" cx="{x:.1f}" cy="{y:.1f}" r="6">'
                f"<title>{escape(name)}, epoch {epoch:g}: {value:.4g}</title></circle>"
            )
    legend = "".join(
        f'<span><svg viewBox="0 0 24 8" aria-hidden="true"><line x1="0" x2="24" y1="4" y2="4" '
        f"{stroke(numbers[name])}/></svg>{escape(name)}</span>"
        for name in drawn
        if len(drawn) > 1  # one line is what the title says
    )
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<figure class="chart"><h3>{escape(title)}</h3>{below}<div class="legend">{legend}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def grid(
    rows: Sequence[float],
    columns: Sequence[float],
    *,
    place: Callable[[float, float], tuple[float, float]],
) -> Iterator[str]:
    """Draw the lines and labels of both axes."""
    yield f'<text x="0" y="{HEIGHT - 8}">epoch</text>'
    for row in rows:
        _, y = place(0, row)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label(row)}</text>'
    for column in columns:
        x, _ = place(column, rows[0])
        yield f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{label(column)}</text>'


def axis_ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers that enclose a range."""
    if high <= low:
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, low + margin
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = min(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def label(value: float) -> str:
    """Return a tick's text: short, and without the noise of binary fractions."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{round(value, 10):.4g}"


def stroke(number: int) -> str:
    """Return the attributes of a series' line: a colour and a dash of its own."""
    dash = DASHES[number % len(DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'class="series" stroke="{colour(number)}"{dashes}'


def colour(number: int) -> str:
    """Return a series' colour, a variable of the page's CSS."""
    return f"var(--series-{number % len(DASHES) + 1})"
