"""Distances of pairs of images, and the error rates of every threshold."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from daam.metrics.calibration import CONFIDENCE, Calibration, Pairs, Rate, trade_off
from daam.plots.palette import BLUE, GREEN, GREY, INK, LINE, VERMILLION
from daam.plots.sheet import Box, Sheet

_MOST_BINS = 120


def draw_calibration(
    same: Pairs,
    other: Pairs,
    *,
    calibration: Calibration | None,
    title: str,
    subtitle: str,
    to: Path,
) -> None:
    """Draw the distances of both kinds of pairs, and the trade-off between the error rates.

    Args:
        same: pairs of one person, at least one.
        other: pairs of two people, at least one.
        calibration: the threshold to mark, if any.
        title: which network and images.
        subtitle: which pairs these are.
        to: PNG or SVG to write; an existing file is replaced.

    Raises:
        StorageError: the file cannot be written.
    """
    sheet = Sheet(width=1240, height=560, title=title, subtitle=subtitle)
    distances = sheet.chart(
        Box(left=72, top=118, width=612, height=374),
        title="Distances of pairs",
        x="cosine distance",
        y="share of pairs, %",
    )
    curve = sheet.chart(
        Box(left=790, top=118, width=424, height=374),
        title="What other thresholds would give",
        x="false-match rate: of the pairs of two people",
        y="true-match rate: of the pairs of one person",
    )
    for axes in (distances, curve):
        axes.xaxis.grid(visible=True, color=LINE, linewidth=1)
    _draw_distances(distances, same, other)
    false_rates, true_rates = trade_off(same, other)
    curve.plot(false_rates, true_rates, color=BLUE, linewidth=2.8)
    curve.set(xscale="log", ylim=(0, 1.02))
    if calibration is not None:
        label = f"threshold: {calibration.threshold:.3f}"
        distances.axvline(calibration.threshold, color=INK, linewidth=2.2, label=label)
        _mark(curve, calibration)
    distances.legend(loc="upper right", frameon=False, fontsize=15)
    sheet.save(to)


def _draw_distances(axes: Axes, same: Pairs, other: Pairs) -> None:
    both = np.concatenate([same.distances_N, other.distances_N])
    low, high = float(both.min()), float(both.max())
    # With few pairs a fine histogram shows nothing but chance.
    num_bins = min(_MOST_BINS, 10 + int(1.5 * len(same) ** 0.5))
    edges = np.linspace(low, high if high > low else low + 1e-3, num_bins + 1)
    highest = 0.0
    for pairs, colour, name, style in (
        (other, VERMILLION, "two people", "--"),
        (same, GREEN, "one person", "-"),
    ):
        counts, _ = np.histogram(pairs.distances_N, edges)
        share = 100 * counts / len(pairs)
        highest = max(highest, float(share.max()))
        label = f"{name}: {len(pairs):,} pairs"
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.22)
        axes.stairs(share, edges, color=colour, linewidth=2.5, linestyle=style, label=label)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.35 * highest))  # room for the legend


def _mark(axes: Axes, calibration: Calibration) -> None:
    x, y = calibration.false_match, calibration.true_match
    point = (max(x.value, 1 / calibration.num_other), y.value)  # a log axis has no 0
    axes.errorbar(
        *point,
        xerr=_reach(x),
        yerr=_reach(y),
        marker="o",
        markersize=10,
        elinewidth=2,
        capsize=5.5,
        color=INK,
        zorder=3,
    )
    # The curve rises: there is room above a point that is low, and right below a high one.
    low_point = y.value < 0.5
    axes.annotate(
        f"requested: {calibration.requested:g} of the pairs of two people\n"
        f"{100 * y.value:.1f} % of the pairs of one person match\n"
        f"({100 * CONFIDENCE:.0f} % interval: {100 * y.low:.1f} to {100 * y.high:.1f} %)",
        point,
        xytext=(0.03, 0.97) if low_point else (0.97, 0.04),
        textcoords="axes fraction",
        horizontalalignment="left" if low_point else "right",
        verticalalignment="top" if low_point else "bottom",
        arrowprops={"arrowstyle": "-", "color": GREY, "shrinkB": 8},
        size=14,
        color=INK,
    )


def _reach(rate: Rate) -> list[list[float]]:
    """How far a rate's interval reaches below and above it."""
    return [[max(0.0, rate.value - rate.low)], [max(0.0, rate.high - rate.value)]]
