"""Charts of an evaluation as PNG files: where embeddings lie, and what a threshold gives.

Shapes: N = images or pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from daam.errors import EvaluationError
from daam.metrics.calibration import CONFIDENCE, Calibration, Pairs, trade_off
from daam.plots.sheet import GREY, INK, PAPER, Colour, unit_colour, write_png

# Okabe and Ito's colours: apart under every common colour blindness. With each round of them the
# shape changes, so that more than eight kinds stay apart too.
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (60, 60, 66),
    (170, 150, 0),
)
MARKERS = ("o", "^", "s", "D", "v")
SAME, OTHER = PALETTE[2], PALETTE[1]
PALE: Colour = (222, 222, 226)

_DPI = 100
_PANEL, _GAP = 5.6, 0.2  # inches
_NAMES_A_LINE = 4
_MOST_BINS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """The kinds that points are of: each kind's name, and the kind of each point."""

    title: str
    names: Sequence[str]
    kinds_N: NDArray[np.integer]
    """(N,), places in `names`; -1 for a point that only gives the background."""


def draw_projection(
    points: NDArray[np.floating],
    *,
    panels: Sequence[Legend],
    title: str,
    subtitle: str,
    to: Path,
) -> None:
    """Write a PNG that shows the same points once for each legend, coloured by it.

    Args:
        points: (N, 2).
        panels: a legend for each panel, left to right.
        title: which network and images.
        subtitle: one or two lines on how to read it.
        to: where to; an existing file is replaced.

    Raises:
        EvaluationError: there is no point or panel, or a legend does not fit the points.
        StorageError: the file cannot be written.
    """
    if len(points) == 0 or len(panels) == 0:
        raise EvaluationError(
            f"{len(points)} points in {len(panels)} panels cannot be drawn; give one of each"
        )
    for panel in panels:
        if len(panel.kinds_N) != len(points) or panel.kinds_N.max() >= len(panel.names):
            raise EvaluationError(
                f"the legend of {panel.title} has {len(panel.kinds_N)} kinds for {len(points)} "
                f"points and {len(panel.names)} names; pass the place of a name for each point"
            )
    width = len(panels) * _PANEL + _GAP
    num_lines = max(-(-len(panel.names) // _NAMES_A_LINE) for panel in panels)
    height = 6.3 + 0.22 * num_lines
    figure = _figure(width=width, height=height, title=title, subtitle=subtitle)
    box_height, bottom = 4.75 / height, (0.3 + 0.22 * num_lines) / height
    order = np.random.default_rng(0).permutation(len(points))  # no kind is always on top
    for number, panel in enumerate(panels):
        left = (number * _PANEL + _GAP) / width
        axes = figure.add_axes((left, bottom, (_PANEL - _GAP) / width, box_height))
        # Panels share no colour, so that nobody takes a kind of one for a kind of another.
        first_colour = sum(len(earlier.names) for earlier in panels[:number])
        _draw_points(
            axes,
            points[order],
            panel=panel,
            kinds_N=panel.kinds_N[order],
            first_colour=first_colour,
        )
    write_png(figure, to)


def draw_calibration(
    same: Pairs,
    other: Pairs,
    *,
    calibration: Calibration | None,
    title: str,
    subtitle: str,
    to: Path,
) -> None:
    """Write a PNG with the distances of both kinds of pairs, and what every threshold would give.

    Args:
        same: pairs of one person, at least one.
        other: pairs of two people, at least one.
        calibration: the threshold to mark, or None to mark none.
        title: which network and images.
        subtitle: which pairs these are.
        to: where to; an existing file is replaced.

    Raises:
        EvaluationError: there is no pair of one kind.
        StorageError: the file cannot be written.
    """
    if len(same) == 0 or len(other) == 0:
        raise EvaluationError(
            f"{len(same)} pairs of one person and {len(other)} of two cannot be drawn; both are "
            "needed"
        )
    figure = _figure(width=12.4, height=5.6, title=title, subtitle=subtitle)
    _draw_distances(figure.add_axes((0.055, 0.12, 0.5, 0.68)), same, other, calibration=calibration)
    _draw_trade_off(figure.add_axes((0.635, 0.12, 0.345, 0.68)), same, other, calibration)
    write_png(figure, to)


def _draw_points(
    axes: Axes,
    points: NDArray[np.floating],
    *,
    panel: Legend,
    kinds_N: NDArray[np.integer],
    first_colour: int,
) -> None:
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.set_title(panel.title, loc="left", size=12, weight="bold", color=unit_colour(INK))
    for spine in axes.spines.values():
        spine.set_color(unit_colour(PALE))
    pale = kinds_N < 0
    axes.scatter(*points[pale].T, s=9, color=unit_colour(PALE), linewidths=0, zorder=1)
    for kind, name in enumerate(panel.names):
        chosen = kinds_N == kind
        style = first_colour + kind
        axes.scatter(
            *points[chosen].T,
            s=17,
            marker=MARKERS[style // len(PALETTE) % len(MARKERS)],
            color=unit_colour(PALETTE[style % len(PALETTE)]),
            edgecolors=unit_colour(PAPER),
            linewidths=0.3,
            label=name,
            zorder=2,
        )
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.01),
        ncols=_NAMES_A_LINE,
        frameon=False,
        fontsize=11,
        markerscale=1.8,
        handletextpad=0.2,
        columnspacing=1.2,
    )


def _draw_distances(
    axes: Axes, same: Pairs, other: Pairs, *, calibration: Calibration | None
) -> None:
    low = float(min(same.distances_N.min(), other.distances_N.min()))
    high = float(max(same.distances_N.max(), other.distances_N.max()))
    # With few pairs a fine histogram shows nothing but chance.
    num_bins = min(_MOST_BINS, 10 + int(1.5 * len(same) ** 0.5))
    edges = np.linspace(low, high if high > low else low + 1e-3, num_bins + 1)
    for pairs, colour, name, style in (
        (other, OTHER, "two people", "--"),
        (same, SAME, "one person", "-"),
    ):
        counts, _ = np.histogram(pairs.distances_N, edges)
        share = 100 * counts / len(pairs)
        axes.stairs(share, edges, fill=True, color=unit_colour(colour), alpha=0.22)
        axes.stairs(
            share,
            edges,
            color=unit_colour(colour),
            linewidth=1.8,
            linestyle=style,
            label=f"{name}: {len(pairs):,} pairs",
        )
    axes.set_ylim(bottom=0)
    axes.set_xlim(edges[0], edges[-1])
    if calibration is not None:
        axes.axvline(
            calibration.threshold,
            color=unit_colour(INK),
            linewidth=1.6,
            label=f"threshold: {calibration.threshold:.3f}",
        )
    _finish(axes, title="Distances of pairs", x="cosine distance", y="share of pairs, %")
    axes.legend(loc="upper right", frameon=False, fontsize=11)


def _draw_trade_off(axes: Axes, same: Pairs, other: Pairs, calibration: Calibration | None) -> None:
    false_rates, true_rates = trade_off(same, other)
    axes.plot(false_rates, true_rates, color=unit_colour(PALETTE[0]), linewidth=2)
    axes.set(xscale="log", ylim=(0, 1.02))
    if calibration is not None:
        x, y = calibration.false_match, calibration.true_match
        axes.errorbar(
            max(x.value, 1 / len(other)),
            y.value,
            xerr=[[max(0.0, x.value - x.low)], [max(0.0, x.high - x.value)]],
            yerr=[[max(0.0, y.value - y.low)], [max(0.0, y.high - y.value)]],
            marker="o",
            markersize=7,
            capsize=4,
            color=unit_colour(INK),
            zorder=3,
        )
        # The curve rises: there is room above a point that is low, and right below a high one.
        low_point = y.value < 0.5
        axes.annotate(
            f"asked for: {calibration.asked:g} of the pairs of two people\n"
            f"{100 * y.value:.1f} % of the pairs of one person match\n"
            f"({100 * CONFIDENCE:.0f} % interval: {100 * y.low:.1f} to {100 * y.high:.1f} %)",
            (max(x.value, 1 / len(other)), y.value),
            xytext=(0.03, 0.97) if low_point else (0.97, 0.04),
            textcoords="axes fraction",
            horizontalalignment="left" if low_point else "right",
            verticalalignment="top" if low_point else "bottom",
            arrowprops={"arrowstyle": "-", "color": unit_colour(GREY), "shrinkB": 6},
            size=10.5,
            color=unit_colour(INK),
        )
    _finish(
        axes,
        title="What other thresholds would give",
        x="false-match rate: of the pairs of two people",
        y="true-match rate: of the pairs of one person",
    )


def _finish(axes: Axes, *, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", size=12, weight="bold", color=unit_colour(INK))
    axes.set_xlabel(x, size=11, color=unit_colour(INK))
    axes.set_ylabel(y, size=11, color=unit_colour(INK))
    axes.tick_params(labelsize=10, colors=unit_colour(GREY))
    axes.grid(color=unit_colour(PALE), linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _figure(*, width: float, height: float, title: str, subtitle: str) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=unit_colour(PAPER))
    common: dict[str, Any] = {"verticalalignment": "top", "parse_math": False}
    figure.text(
        0.22 / width,
        1 - 0.18 / height,
        title,
        size=15,
        weight="bold",
        color=unit_colour(INK),
        **common,
    )
    figure.text(
        0.22 / width, 1 - 0.48 / height, subtitle, size=11, color=unit_colour(GREY), **common
    )
    return figure
