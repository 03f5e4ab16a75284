"""Embeddings as points, once per legend.

Shapes: N = points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from daam.plots.palette import CYCLE, LINE, PAPER
from daam.plots.sheet import MARGIN, Box, Sheet

# With each round of the colours the shape changes, so that more categories than colours stay apart.
MARKERS = ("o", "^", "s", "D", "v")

_PANEL = Box(left=MARGIN, top=125, width=540, height=475)
_GAP = 20
_NAMES_PER_LINE, _LEGEND_LINE = 4, 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """The categories of a panel, and the category of each point."""

    title: str
    names: Sequence[str]
    categories_N: NDArray[np.integer]
    """(N,), places in `names`; -1 for a point that is only background."""


def draw_projection(
    points: NDArray[np.floating], *, panels: Sequence[Legend], title: str, subtitle: str, to: Path
) -> None:
    """Draw the same points once per legend, coloured by it.

    Args:
        points: (N, 2).
        panels: a legend for each panel, left to right.
        title: which network and images.
        subtitle: one or two lines on how to read it.
        to: PNG or SVG to write; an existing file is replaced.

    Raises:
        StorageError: the file cannot be written.
    """
    num_lines = max(-(-len(panel.names) // _NAMES_PER_LINE) for panel in panels)
    sheet = Sheet(
        width=2 * MARGIN + max(2, len(panels)) * (_PANEL.width + _GAP) - _GAP,  # room for the text
        height=_PANEL.bottom + num_lines * _LEGEND_LINE + 30,
        title=title,
        subtitle=subtitle,
    )
    order = np.random.default_rng(0).permutation(len(points))  # no category is always on top
    first_colour = 0
    for number, panel in enumerate(panels):
        box = _PANEL.at(left=MARGIN + number * (_PANEL.width + _GAP), top=_PANEL.top)
        _draw_points(
            sheet.chart(box, title=panel.title),
            points[order],
            names=panel.names,
            categories_N=panel.categories_N[order],
            first_colour=first_colour,
        )
        # Panels share no colour, so that no category is taken for one of another panel.
        first_colour += len(panel.names)
    sheet.save(to)


def _draw_points(
    axes: Axes,
    points: NDArray[np.floating],
    *,
    names: Sequence[str],
    categories_N: NDArray[np.integer],
    first_colour: int,
) -> None:
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    for spine in axes.spines.values():
        spine.set(visible=True, color=LINE, linewidth=1)
    axes.scatter(*points[categories_N < 0].T, s=17, color=LINE, linewidths=0, zorder=1)
    for style, (category, name) in enumerate(enumerate(names), start=first_colour):
        axes.scatter(
            *points[categories_N == category].T,
            s=33,
            marker=MARKERS[style // len(CYCLE) % len(MARKERS)],
            color=CYCLE[style % len(CYCLE)],
            edgecolors=PAPER,
            linewidths=0.4,
            label=name,
            zorder=2,
        )
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.01),
        ncols=_NAMES_PER_LINE,
        frameon=False,
        fontsize=15,
        markerscale=1.8,
        handletextpad=0.2,
        columnspacing=1.2,
    )
