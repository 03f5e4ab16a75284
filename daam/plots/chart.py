"""Charts as SVG inside HTML pages, in the colours of the page's CSS.

A chart is two axes and marks. Each is drawn 520 pixels wide and scales with its column.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 520, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 26  # margins of the area that holds the marks
LETTER = 6.6  # pixels of an average letter in a label
MAX_LABEL = 210

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Maps values to their share of an axis, 0 to 1.

    Args:
        ticks: where there are labels, and what they say.
        low: value at the beginning.
        high: value at the end.
        log: whether the scale is logarithmic; both ends are then positive.
        title: what the values are.
    """

    ticks: Mapping[float, str]
    low: float
    high: float
    log: bool = False
    title: str = ""

    def share(self, value: float) -> float:
        """Return where a value lies; the middle where the axis has no extent."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return (value - low) / (high - low) if high > low else 0.5


def linear_axis(
    values: Iterable[float],
    *,
    title: str = "",
    limits: tuple[float | None, float | None] = (None, None),
    text: Callable[[float], str] | None = None,
) -> Axis:
    """Return an axis between round numbers that enclose the values.

    Args:
        values: at least one.
        title: of the axis.
        limits: ends of the axis; None is that of the values.
        text: of a tick.
    """
    values = list(values)
    low = min(values) if limits[0] is None else limits[0]
    high = max(values) if limits[1] is None else limits[1]
    ticks = axis_ticks(low, high)
    return Axis(
        ticks={tick: (text or label)(tick) for tick in ticks},
        low=ticks[0],
        high=ticks[-1],
        title=title,
    )


def whole_axis(values: Iterable[float], *, title: str = "", margin: float = 0.0) -> Axis:
    """Return an axis that ends where the values do, with labels at whole numbers.

    Args:
        values: at least one.
        title: of the axis.
        margin: room beyond both ends, in units of the values.
    """
    values = list(values)
    low, high = min(values), max(values)
    ticks = [tick for tick in axis_ticks(low, high) if tick == int(tick) and low <= tick <= high]
    return Axis(
        ticks={tick: label(tick) for tick in ticks or [low]},
        low=low - margin,
        high=high + margin,
        title=title,
    )


def log_axis(low: float, high: float, *, title: str = "") -> Axis:
    """Return a logarithmic axis with labels at 1, 2 and 5 times powers of ten, or at its ends."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) >= 3:
            break
    else:
        ticks = [low, high]
    return Axis(
        ticks={tick: label(tick) for tick in ticks}, low=low, high=high, log=True, title=title
    )


def category_axis(names: Sequence[str], *, title: str = "") -> Axis:
    """Return an axis on which the name number n stands at n."""
    return Axis(
        ticks=dict(enumerate(names)), low=-0.5, high=max(len(names) - 0.5, 0.5), title=title
    )


@dataclass(slots=True, kw_only=True)
class Chart:
    """A chart under construction: marks are drawn in the order in which they are added.

    Args:
        x: rises to the right.
        y: rises upwards.
        width: pixels.
        height: pixels.
    """

    x: Axis
    y: Axis
    width: int = WIDTH
    height: int = HEIGHT
    parts: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Where the area of the marks begins: right of the longest label."""
        longest = max((len(text) for text in self.y.ticks.values()), default=0)
        return max(LEFT, min(MAX_LABEL, 12 + LETTER * longest))

    @property
    def top(self) -> float:
        """Where it begins at the top: below the title of the vertical axis."""
        return TOP + (16 if self.y.title else 0)

    def at(self, x: float, y: float) -> Point:
        """Return the pixels of a point."""
        return (
            self.left + self.x.share(x) * (self.width - self.left - RIGHT),
            self.height - BOTTOM - self.y.share(y) * (self.height - self.top - BOTTOM),
        )

    def line(
        self, points: Iterable[Point], *, colour: str, dash: str = "", kind: str = "series"
    ) -> None:
        """Add a line through points; one point alone is a dot."""
        places = [self.at(*point) for point in points]
        if len(places) == 1:
            ((x, y),) = places
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
            return
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        self.parts.append(f'<polyline points="{path}" {stroke(colour, dash=dash, kind=kind)}/>')

    def dot(
        self, x: float, y: float, *, colour: str, text: str = "", kind: str = "dot", r: float = 4
    ) -> None:
        """Add a dot; `text` is shown under the mouse."""
        across, up = self.at(x, y)
        self.parts.append(
            f'<circle class="{kind}" cx="{across:.1f}" cy="{up:.1f}" r="{r:g}" '
            f'style="--mark: {colour}">{hint(text)}</circle>'
        )

    def cross(self, x: float, y: float, *, colour: str, text: str = "") -> None:
        """Add a cross, which tells itself from a dot without its colour."""
        across, up = self.at(x, y)
        self.parts.append(
            f'<path class="cross" d="M{across - 3.5:.1f} {up - 3.5:.1f}l7 7m0-7l-7 7" '
            f'style="--mark: {colour}">{hint(text)}</path>'
        )

    def spot(self, x: float, y: float, *, text: str) -> None:
        """Add an invisible place that shows a text under the mouse."""
        across, up = self.at(x, y)
        self.parts.append(
            f'<circle class="spot" cx="{across:.1f}" cy="{up:.1f}" r="6">{hint(text)}</circle>'
        )

    def bar(
        self, start: float, end: float, y: float, *, colour: str, text: str = "", size: float = 12
    ) -> None:
        """Add a horizontal bar between two values of x."""
        (left, up), (right, _) = self.at(start, y), self.at(end, y)
        self.parts.append(
            f'<rect x="{left:.1f}" y="{up - size / 2:.1f}" width="{max(right - left, 1):.1f}" '
            f'height="{size:g}" fill="{colour}">{hint(text)}</rect>'
        )

    def span(self, low: float, high: float, y: float) -> None:
        """Add an interval along x, with a stroke at each end."""
        (left, up), (right, _) = self.at(low, y), self.at(high, y)
        self.parts.append(
            f'<path class="span" d="M{left:.1f} {up:.1f}H{right:.1f}M{left:.1f} {up - 4:.1f}v8'
            f'M{right:.1f} {up - 4:.1f}v8"/>'
        )

    def rule(self, x: float, *, text: str = "") -> None:
        """Add a dashed line across the chart at a value of x, with a text at its head."""
        across, bottom = self.at(x, self.y.low)
        words = f'<text x="{across + 4:.1f}" y="{self.top + 8:.1f}">{escape(text)}</text>'
        self.parts.append(
            f'<path class="rule" d="M{across:.1f} {self.top:.1f}V{bottom:.1f}"/>'
            + (words if text else "")
        )

    def write(self, text: str, x: float, y: float, *, dx: float = 8) -> None:
        """Add a text to the right of a point."""
        across, up = self.at(x, y)
        self.parts.append(f'<text x="{across + dx:.1f}" y="{up + 4:.1f}">{escape(text)}</text>')

    def as_html(
        self, *, title: str, note: str = "", legend: Mapping[str, str] | None = None
    ) -> str:
        """Return the chart with its title and legend.

        Args:
            title: plain text.
            note: what the values are, plain text.
            legend: name -> its mark as SVG, in a box of 24 by 8.
        """
        names = "".join(
            f'<span><svg viewBox="0 0 24 8" aria-hidden="true">{mark}</svg>{escape(name)}</span>'
            for name, mark in (legend or {}).items()
        )
        below = f'<p class="note">{escape(note)}</p>' if note else ""
        return (
            f'<figure class="chart"><h3>{escape(title)}</h3>{below}'
            f'<div class="legend">{names}</div>'
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(title)}">{self._grid()}{"".join(self.parts)}</svg></figure>'
        )

    def _grid(self) -> str:
        """Draw the lines and labels of both axes."""
        parts = [f'<text x="0" y="{self.height - 8}">{escape(self.x.title)}</text>']
        if self.y.title:
            parts.append(f'<text x="0" y="12">{escape(self.y.title)}</text>')
        for row, text in self.y.ticks.items():
            _, y = self.at(self.x.low, row)
            shown = shortened(text)
            parts.append(
                f'<line class="grid" x1="{self.left:.1f}" x2="{self.width - RIGHT}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/><text x="{self.left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">'
                f"{escape(shown)}</text>"
            )
        for column, text in self.x.ticks.items():
            x, _ = self.at(column, self.y.low)
            anchor = "end" if x + LETTER * len(text) / 2 > self.width else "middle"
            x = min(x, self.width - 1)
            parts.append(
                f'<text x="{x:.1f}" y="{self.height - 8}" text-anchor="{anchor}">'
                f"{escape(text)}</text>"
            )
        return "".join(parts)


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


def shortened(text: str) -> str:
    """Return a label that fits left of a chart; what goes is its beginning."""
    most = int((MAX_LABEL - 12) / LETTER)
    return text if len(text) <= most else f"…{text[1 - most :]}"


def stroke(colour: str, *, dash: str = "", kind: str = "series") -> str:
    """Return the attributes of a line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'class="{kind}" stroke="{colour}"{dashes}'


def line_sample(colour: str, *, dash: str = "", kind: str = "series") -> str:
    """Return a line for a legend."""
    return f'<line x1="0" x2="24" y1="4" y2="4" {stroke(colour, dash=dash, kind=kind)}/>'


def dot_sample(colour: str, *, kind: str = "dot") -> str:
    """Return a dot for a legend."""
    return f'<circle class="{kind}" cx="12" cy="4" r="3.5" style="--mark: {colour}"/>'


def cross_sample(colour: str) -> str:
    """Return a cross for a legend."""
    return f'<path class="cross" d="M9 1l6 6m0-6l-6 6" style="--mark: {colour}"/>'


def hint(text: str) -> str:
    """Return the text that a browser shows under the mouse."""
    return f"<title>{escape(text)}</title>" if text else ""
