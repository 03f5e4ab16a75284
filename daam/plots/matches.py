"""Matches: photos of people, and the gallery images that are nearest to each.

Shapes: H = height, W = width of an image, each its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daam.plots.palette import GREEN, GREY, INK, PALE
from daam.plots.sheet import (
    CAPTION_LINE,
    GAP,
    HEADER,
    IMAGE_HEIGHT,
    MARGIN,
    TICK,
    Box,
    Frame,
    Sheet,
)

QUERY_FRAME = Frame(colour=INK)
BELOW_FRAME = Frame(colour=GREEN, mark=TICK)
ABOVE_FRAME = Frame(colour=GREY, dashed=True)
UNKNOWN_FRAME = Frame(colour=PALE)

_CELL_WIDTH = 112
_CAPTION_CHARACTERS = 15
_FOOTER = 52


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMatch:
    """A gallery image that was found.

    Attributes:
        image: (H, W, 3).
        caption: at most two lines.
        is_match: whether it is below the threshold; None without one.
    """

    image: NDArray[np.uint8]
    caption: str
    is_match: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownQuery:
    """A photo, (H, W, 3), its name, and its matches, best first."""

    image: NDArray[np.uint8]
    caption: str
    matches: Sequence[ShownMatch]


def draw_matches(
    queries: Sequence[ShownQuery], *, title: str, subtitle: str, legend: str | None, to: Path
) -> None:
    """Draw a row per query: the photo, then its matches.

    Images keep their proportions. Those below the threshold have a solid green frame and a tick,
    those above a dashed grey one.

    Args:
        queries: at least one; a shorter list leaves the end of its row blank.
        title: what was searched.
        subtitle: a line about how.
        legend: what the threshold is; None if there is none.
        to: PNG or SVG to write; an existing file is replaced.

    Raises:
        EvaluationError: the sheet would be too large to draw.
        StorageError: the file cannot be written.
    """
    num_columns = max(len(query.matches) for query in queries)
    row_height = IMAGE_HEIGHT + 3 * CAPTION_LINE + GAP
    first_match = MARGIN + _CELL_WIDTH + 3 * GAP
    sheet = Sheet(
        width=first_match + num_columns * (_CELL_WIDTH + GAP) - GAP + MARGIN,
        height=HEADER + CAPTION_LINE + len(queries) * row_height + _FOOTER,
        title=title,
        subtitle=subtitle,
    )

    def show(image: NDArray[np.uint8], caption: str, frame: Frame, *, left: int, top: int) -> None:
        box = _fitted(image, left=left, top=top)
        sheet.place(image, box=box)
        sheet.frame(box, frame)
        middle = left + _CELL_WIDTH / 2
        lines = "\n".join(_shortened(line) for line in caption.splitlines())
        sheet.write(lines, x=middle, y=top + IMAGE_HEIGHT + 8, align="center")

    lefts = [first_match + rank * (_CELL_WIDTH + GAP) for rank in range(num_columns)]
    for left, name in zip([MARGIN, *lefts], ["query", *range(1, num_columns + 1)], strict=True):
        sheet.write(f"{name}", x=left + _CELL_WIDTH / 2, y=HEADER, bold=True, align="center")
    for number, query in enumerate(queries):
        top = HEADER + CAPTION_LINE + 8 + number * row_height
        show(query.image, query.caption, QUERY_FRAME, left=MARGIN, top=top)
        for left, match in zip(lefts, query.matches, strict=False):
            frame = {True: BELOW_FRAME, False: ABOVE_FRAME, None: UNKNOWN_FRAME}[match.is_match]
            show(match.image, match.caption, frame, left=left, top=top)

    y = sheet.height - _FOOTER + 8
    if legend is None:
        sheet.write("no threshold has been measured for this run", x=MARGIN, y=y, colour=GREY)
    else:
        box = Box(left=MARGIN, top=y, width=26, height=26)
        sheet.frame(box, BELOW_FRAME)
        sheet.write(legend, x=box.right + 12, y=y + 5)
    sheet.save(to)


def _fitted(image: NDArray[np.uint8], *, left: int, top: int) -> Box:
    """The largest box of the image's proportions in a cell, in its middle."""
    height, width = image.shape[:2]
    scale = min(_CELL_WIDTH / width, IMAGE_HEIGHT / height)
    box_width, box_height = max(1, round(width * scale)), max(1, round(height * scale))
    return Box(
        left=left + (_CELL_WIDTH - box_width) // 2,
        top=top + (IMAGE_HEIGHT - box_height) // 2,
        width=box_width,
        height=box_height,
    )


def _shortened(line: str) -> str:
    """A line that fits below an image; the end of a file's name tells more than its start."""
    return line if len(line) <= _CAPTION_CHARACTERS else f"…{line[1 - _CAPTION_CHARACTERS :]}"
