"""A sheet on which images and charts are laid out, addressed in pixels from its top left corner.

Shapes: H = height, W = width of an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Literal, Self

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image

from daam.errors import ConfigError, EvaluationError
from daam.plots.palette import GREY, INK, LINE, PAPER
from daam.storage.atomic import atomic_write

# Strokes of a mark in units of its badge's radius, x to the right and y down.
TICK = (((-0.5, -0.15, 0.5), (0.05, 0.4, -0.35)),)
CROSS = (((-0.38, 0.38), (-0.38, 0.38)), ((-0.38, 0.38), (0.38, -0.38)))

MARGIN, HEADER = 28, 84
IMAGE_HEIGHT, GAP, CAPTION_LINE = 192, 16, 18
"""Pixels: height of an image in a grid, between two images, a line of text below one."""

_DPI = 72  # a point is a pixel, so sizes of text and lines are pixels too
_MAX_SIDE = 2**16 - 1  # what Agg can draw
_LEAST_WIDTH = 960
_LINE_SPACING = 1.3
_FRAME_WIDTH = 4
_BADGE_RADIUS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def fitting(cls, image: NDArray[np.uint8], *, height: int = IMAGE_HEIGHT) -> Self:
        """A box of a height with the proportions of an image, in the corner."""
        scaled = max(1, round(height * image.shape[1] / image.shape[0]))
        return cls(left=0, top=0, width=scaled, height=height)

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

    colour: str
    dashed: bool = False
    mark: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    """Strokes, each as x and y of its points; none for a frame without a badge."""


class Sheet:
    """A sheet with a header.

    Args:
        width: wanted pixels; a sheet is at least wide enough for a line of about 110 characters.
        height: pixels, header included.
        title: a line at the top.
        subtitle: smaller lines below it.

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
        self._figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=PAPER)
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
        colour: str = INK,
        bold: bool = False,
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """Put lines of text below `y`; they are shown as they are, never read as a formula."""
        # Baselines, not upper edges, so that texts side by side stand on one line.
        for number, line in enumerate(text.splitlines()):
            self._axes.text(
                x,
                y + size + number * _LINE_SPACING * size,
                line,
                color=colour,
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
        half = _FRAME_WIDTH / 2
        self._axes.add_patch(
            Rectangle(
                (box.left - half, box.top - half),
                box.width + _FRAME_WIDTH,
                box.height + _FRAME_WIDTH,
                fill=False,
                edgecolor=frame.colour,
                linewidth=_FRAME_WIDTH,
                linestyle=(0, (2.5, 1.25)) if frame.dashed else "solid",
                joinstyle="miter",
                zorder=2,
            )
        )
        if frame.mark:
            self._badge(frame, x=box.right - _BADGE_RADIUS - 2, y=box.top + _BADGE_RADIUS + 2)

    def chart(self, box: Box, *, title: str, x: str = "", y: str = "") -> Axes:
        """Add axes that fill the box; their title, ticks and labels stand outside it."""
        axes = self._figure.add_axes(
            (
                box.left / self.width,
                1 - box.bottom / self.height,
                box.width / self.width,
                box.height / self.height,
            )
        )
        axes.set_title(title, loc="left", size=16, weight="bold", color=INK, pad=12)
        axes.set_xlabel(x, size=14, color=GREY)
        axes.set_ylabel(y, size=14, color=GREY)
        axes.tick_params(labelsize=13, colors=GREY, length=0)
        axes.yaxis.grid(visible=True, color=LINE, linewidth=1)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set(color=LINE, linewidth=1)
        return axes

    def legend(self, colours: Mapping[str, str]) -> None:
        """Write names with their colours into the upper right corner."""
        self._figure.legend(
            handles=[Patch(color=colour, label=name) for name, colour in colours.items()],
            loc="upper right",
            bbox_to_anchor=(1 - MARGIN / self.width, 1 - 20 / self.height),
            borderaxespad=0,
            ncols=len(colours),
            frameon=False,
            fontsize=15,
            labelcolor=INK,
            handlelength=1,
            handleheight=1,
        )

    def save(self, to: Path) -> None:
        """Write the sheet as PNG or SVG, atomically; the same sheet gives the same bytes.

        Raises:
            ConfigError: the file's name ends in neither .png nor .svg.
            StorageError: the file cannot be written.
        """
        kind, content = check_format(to), BytesIO()
        # Without a date and with a fixed salt, the bytes are the same every time.
        with mpl.rc_context({"svg.hashsalt": "daam"}):
            metadata = {"Date" if kind == "svg" else "Software": None}
            self._figure.savefig(content, format=kind, metadata=metadata)
        atomic_write(to, [content.getvalue()])

    def _badge(self, frame: Frame, *, x: float, y: float) -> None:
        self._axes.add_patch(
            Circle(
                (x, y),
                _BADGE_RADIUS,
                facecolor=frame.colour,
                edgecolor=PAPER,
                linewidth=1.5,
                zorder=3,
            )
        )
        for across, down in frame.mark:
            self._axes.plot(
                [x + step * _BADGE_RADIUS for step in across],
                [y + step * _BADGE_RADIUS for step in down],
                color=PAPER,
                linewidth=2.4,
                solid_capstyle="round",
                solid_joinstyle="round",
                zorder=4,
            )


def check_format(to: Path) -> Literal["png", "svg"]:
    """The format of a picture by the end of its name.

    Raises:
        ConfigError: it is neither .png nor .svg.
    """
    match to.suffix.lower():
        case ".png":
            return "png"
        case ".svg":
            return "svg"
        case _:
            raise ConfigError(f"{to} is neither .png nor .svg; name it one of them")


def check_images(images: Sequence[NDArray[np.uint8]]) -> None:
    """Check that images can be drawn in boxes of one size.

    Raises:
        EvaluationError: there is none, or one is not uint8 (H, W, 3) of the size of the first.
    """
    if not images:
        raise EvaluationError("there is no image to draw; give at least one")
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
