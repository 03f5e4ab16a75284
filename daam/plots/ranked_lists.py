"""Ranked lists: queries, and the gallery images that are nearest to each.

Shapes: Q = queries, H = height, W = width of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daam.errors import EvaluationError
from daam.plots.palette import GREEN, GREY, VERMILLION
from daam.plots.sheet import (
    CAPTION_LINE,
    CROSS,
    GAP,
    HEADER,
    MARGIN,
    TICK,
    Box,
    Frame,
    Sheet,
    check_images,
)

QUERY_FRAME = UNKNOWN_FRAME = Frame(colour=GREY)
CORRECT_FRAME = Frame(colour=GREEN, mark=TICK)
WRONG_FRAME = Frame(colour=VERMILLION, dashed=True, mark=CROSS)

_FOOTER = 52


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A gallery image in a ranked list."""

    image: NDArray[np.uint8]
    """(H, W, 3)."""
    caption: str
    """A line, such as the camera."""
    correct: bool | None
    """Whether it shows the query's person; None where nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedList:
    """A query and its nearest gallery images, nearest first."""

    query: NDArray[np.uint8]
    """(H, W, 3)."""
    caption: str
    """At most two lines."""
    results: Sequence[Result]


def spread_queries(average_precisions: NDArray[np.floating], *, count: int) -> NDArray[np.int64]:
    """Choose queries that represent all of them: no best cases, no worst cases.

    The scored queries are ordered from best to worst and cut into `count` equal shares; the middle
    one of each share is taken.

    Args:
        average_precisions: (Q,), NaN for a query that was left out.
        count: queries wanted; where fewer were scored, all of those come back.

    Returns:
        (at most `count`,) places in `average_precisions`, best first, equal ones in their order.

    Raises:
        EvaluationError: no query was scored, or the count is not positive.
    """
    if count < 1:
        raise EvaluationError(f"cannot choose {count} queries to show; choose at least 1")
    scored = np.flatnonzero(~np.isnan(average_precisions))
    if len(scored) == 0:
        raise EvaluationError(
            f"none of {len(average_precisions)} queries has a score, so there are none to show; "
            "check that the gallery shows the same people from other cameras"
        )
    best_first = scored[np.argsort(-average_precisions[scored], kind="stable")]
    count = min(count, len(best_first))
    return best_first[(2 * np.arange(count) + 1) * len(best_first) // (2 * count)]


def draw_ranked_lists(lists: Sequence[RankedList], *, title: str, subtitle: str, to: Path) -> None:
    """Draw a row per query: the query, then its nearest gallery images.

    Images of the query's person have a solid green frame and a tick, others a dashed vermillion
    frame and a cross; where nobody knows, the frame is grey.

    Args:
        lists: all images of one size; a shorter list leaves the end of its row blank.
        title: what was evaluated.
        subtitle: its scores; which queries these are and how they were chosen.
        to: PNG or SVG to write; an existing file is replaced.

    Raises:
        EvaluationError: there is nothing to draw, or images differ in size.
        StorageError: the file cannot be written.
    """
    check_images([image for row in lists for image in (row.query, *(r.image for r in row.results))])
    cell = Box.fitting(lists[0].query)
    num_results = max(len(row.results) for row in lists)
    row_height = cell.height + 3 * CAPTION_LINE + GAP
    first_result = MARGIN + cell.width + 3 * GAP
    sheet = Sheet(
        width=first_result + num_results * (cell.width + GAP) - GAP + MARGIN,
        height=HEADER + CAPTION_LINE + len(lists) * row_height + _FOOTER,
        title=title,
        subtitle=subtitle,
    )

    def show(image: NDArray[np.uint8], caption: str, frame: Frame, *, left: int, top: int) -> None:
        box = cell.at(left=left, top=top)
        sheet.place(image, box=box)
        sheet.frame(box, frame)
        sheet.write(caption, x=left + cell.width / 2, y=box.bottom + 8, align="center")

    lefts = [first_result + rank * (cell.width + GAP) for rank in range(num_results)]
    for left, name in zip([MARGIN, *lefts], ["query", *range(1, num_results + 1)], strict=True):
        sheet.write(f"{name}", x=left + cell.width / 2, y=HEADER, bold=True, align="center")
    for number, row in enumerate(lists):
        top = HEADER + CAPTION_LINE + 8 + number * row_height
        show(row.query, row.caption, QUERY_FRAME, left=MARGIN, top=top)
        for left, result in zip(lefts, row.results, strict=False):
            show(result.image, result.caption, frame_of(result), left=left, top=top)

    meanings = [
        (MARGIN, CORRECT_FRAME, "the query's person"),
        (MARGIN + 400, WRONG_FRAME, "someone else"),
    ]
    if all(result.correct is None for row in lists for result in row.results):
        meanings = []
    for left, frame, meaning in meanings:
        box = Box(left=left, top=sheet.height - _FOOTER + 8, width=26, height=26)
        sheet.frame(box, frame)
        sheet.write(meaning, x=box.right + 12, y=box.top + 5)
    sheet.save(to)


def frame_of(result: Result) -> Frame:
    """The frame of a gallery image."""
    if result.correct is None:
        return UNKNOWN_FRAME
    return CORRECT_FRAME if result.correct else WRONG_FRAME
