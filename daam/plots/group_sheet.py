"""A sheet of groups: a row of example images for each.

Shapes: H = height, W = width of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daam.plots.sheet import CAPTION_LINE, GAP, HEADER, MARGIN, Box, Sheet, check_images

_IMAGE_HEIGHT, _IMAGE_GAP = 96, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """A group to show."""

    caption: str
    images: Sequence[NDArray[np.uint8]]
    """Each (H, W, 3), at least one."""


def draw_groups(rows: Sequence[GroupRow], *, title: str, subtitle: str, to: Path) -> None:
    """Draw each group's caption and, below it, its images side by side.

    Args:
        rows: all images of one size.
        title: which groups these are.
        subtitle: how many there are and how these were chosen.
        to: PNG or SVG to write; an existing file is replaced.

    Raises:
        EvaluationError: there is nothing to draw, or images differ in size.
        StorageError: the file cannot be written.
    """
    check_images([image for row in rows for image in row.images])
    cell = Box.fitting(rows[0].images[0], height=_IMAGE_HEIGHT)
    row_height = CAPTION_LINE + cell.height + GAP
    columns = max(len(row.images) for row in rows)
    sheet = Sheet(
        width=2 * MARGIN + columns * (cell.width + _IMAGE_GAP) - _IMAGE_GAP,
        height=HEADER + len(rows) * row_height + MARGIN - GAP,
        title=title,
        subtitle=subtitle,
    )
    for number, row in enumerate(rows):
        top = HEADER + number * row_height
        sheet.write(row.caption, x=MARGIN, y=top)
        for column, image in enumerate(row.images):
            left = MARGIN + column * (cell.width + _IMAGE_GAP)
            sheet.place(image, box=cell.at(left=left, top=top + CAPTION_LINE))
    sheet.save(to)
