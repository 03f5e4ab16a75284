"""A sheet of paper on which pictures are laid out, addressed in pixels from its top left corner.

Shapes: H = height, W = width of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Literal, Self

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray
from PIL import Image

from daam.errors import EvaluationError
from daam.storage.atomic import atomic_write

PAPER, INK, GREY = (255, 255, 255), (38, 38, 42), (104, 104, 112)
# Strokes of a mark in units of its badge's radius, x to the right and y down.
TICK = (((-0.5, -0.15, 0.5), (0.05, 0.4, -0.35)),)
CROSS = (((-0.38, 0.38), (-0.38, 0.38)), ((-0.38, 0.38), (0.38, -0.38)))

MARGIN, HEADER = 28, 84

_DPI = 72  # a point is a pixel, so sizes of text and lines are pixels too
_MAX_SIDE = 2**16 - 1  # what Agg can draw
_LEAST_WIDTH = 960
_LINE_SPACING = 1.3
_FRAME_WIDTH = 4
_BADGE_RADIUS = 10

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    def at(self, *, left: int, top: int) -> Self:
        """The same size at another place."""
        return replace(self, left=left, top=top)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A line around an image, and a mark in its upper right corner."""

    colour: Colour
    dashed: bool
    mark: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    """Strokes, each as x and y of its points; none for a frame without a badge."""


class Sheet:
    """A sheet with a header; what is put on it becomes a file with `save`.

    Args:
        width: pixels wanted; a sheet is at least wide enough for a line of about 110 characters.
        height: pixels, header included.
        title: a line at the top.
        subtitle: a smaller line below it.

    Raises:
        EvaluationError: it is too large to draw.
    """

    def __init__(self, *, width: int, height: int, title: str, subtitle: str) -> None:
        width = max(width, _LEAST_WIDTH)
        if max(width, height) > _MAX_SIDE:
            raise EvaluationError(
                f"a picture of {width} x {height} pixels is too large to draw; show fewer images"
            )
        self.width, self.height = width, height
        self._figure = Figure(
            figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=unit_colour(PAPER)
        )
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self.write(title, x=MARGIN, y=18, size=20, bold=True)
        self.write(subtitle, x=MARGIN, y=46, size=14, colour=GREY)

    def write(
        self,
        text: str,
        *,
        x: float,
        y: float,
        size: int = 13,
        colour: Colour = INK,
        bold: bool = False,
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """Put lines of text below `y`; they are shown as they are, never read as a formula."""
        # Baselines, not upper edges: texts side by side then stand on one line.
        for number, line in enumerate(text.splitlines()):
            self._axes.text(
                x,
                y + size + number * _LINE_SPACING * size,
                line,
                color=unit_colour(colour),
                family="DejaVu Sans",  # comes with matplotlib
                size=size,
                weight="bold" if bold else "normal",
                horizontalalignment=align,
                verticalalignment="baseline",
                parse_math=False,
            )

    def place(self, image: NDArray[np.uint8], *, box: Box) -> None:
        """Put an image (H, W, 3), resized to fill the box."""
        # Resized here, so that matplotlib has nothing to interpolate.
        resized = Image.fromarray(image).resize((box.width, box.height), Image.Resampling.BICUBIC)
        self._axes.imshow(
            np.asarray(resized),
            extent=(box.left, box.right, box.bottom, box.top),
            aspect="auto",
            interpolation="nearest",
        )

    def frame(self, box: Box, frame: Frame) -> None:
        """Draw a frame around the box, on its outside, and its mark inside."""
        colour, half = unit_colour(frame.colour), _FRAME_WIDTH / 2
        self._axes.add_patch(
            Rectangle(
                (box.left - half, box.top - half),
                box.width + _FRAME_WIDTH,
                box.height + _FRAME_WIDTH,
                fill=False,
                edgecolor=colour,
                linewidth=_FRAME_WIDTH,
                linestyle=(0, (2.5, 1.25)) if frame.dashed else "solid",
                joinstyle="miter",
                zorder=2,
            )
        )
        if frame.mark:
            self._badge(frame, x=box.right - _BADGE_RADIUS - 2, y=box.top + _BADGE_RADIUS + 2)

    def save(self, to: Path) -> None:
        """Write the sheet as PNG, whole or not at all; the same sheet gives the same bytes.

        Raises:
            StorageError: the file cannot be written.
        """
        write_png(self._figure, to)

    def _badge(self, frame: Frame, *, x: float, y: float) -> None:
        self._axes.add_patch(
            Circle(
                (x, y),
                _BADGE_RADIUS,
                facecolor=unit_colour(frame.colour),
                edgecolor=unit_colour(PAPER),
                linewidth=1.5,
                zorder=3,
            )
        )
        for across, down in frame.mark:
            self._axes.plot(
                [x + step * _BADGE_RADIUS for step in across],
                [y + step * _BADGE_RADIUS for step in down],
                color=unit_colour(PAPER),
                linewidth=2.4,
                solid_capstyle="round",
                solid_joinstyle="round",
                zorder=4,
            )


def write_png(figure: Figure, to: Path) -> None:
    """Write a figure as PNG, whole or not at all; the same figure gives the same bytes.

    Raises:
        StorageError: the file cannot be written.
    """
    png = BytesIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    atomic_write(to, [png.getvalue()])


def check_images(images: Sequence[NDArray[np.uint8]]) -> None:
    """Make sure that images can be drawn in boxes of one size.

    Raises:
        EvaluationError: one is not uint8 (H, W, 3), or not as large as the first.
    """
    size = images[0].shape
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise EvaluationError(
                f"an image to draw is {image.dtype} of shape {image.shape}; pass uint8 (H, W, 3)"
            )
        if image.shape != size:
            raise EvaluationError(
                f"images to draw have shapes {size} and {image.shape}; decode all to one size"
            )


def unit_colour(colour: Colour) -> tuple[float, float, float]:
    """A colour as matplotlib wants it, from 0 to 1."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
