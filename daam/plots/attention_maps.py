"""Attention maps: where a network's features count as shared, and where as specific.

Shapes: N = images, H = height, W = width of an image, h and w those of an attention map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from daam.errors import EvaluationError
from daam.plots.sheet import CAPTION_LINE, GAP, HEADER, MARGIN, Box, Sheet, check_images

_MAPS_PER_LINE = 4
_COLOUR_MAP = "viridis"
_OVERLAY_SHARE = 0.65
_LEAST_SPAN = 0.02
_BAR_WIDTH, _BAR_SPACE = 18, 130


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMap:
    """An image and the attention of its shared part."""

    image: NDArray[np.uint8]
    """(H, W, 3)."""
    shared: NDArray[np.floating]
    """(h, w) in 0..1, mean over the channels; the specific part has the rest, 1 - shared."""
    caption: str


def draw_attention_maps(
    maps: Sequence[AttentionMap], *, title: str, subtitle: str, to: Path
) -> None:
    """Draw each image, its shared and its specific part.

    The maps lie over the greyed image, enlarged bilinearly. One colour scale, which spans the
    values that occur, serves the shared parts of all images, and its complement the specific parts.
    The mean of each map is written below it.

    Args:
        maps: images of one size and maps of one size.
        title: which network this is.
        subtitle: which images these are.
        to: PNG or SVG to write; an existing file is replaced.

    Raises:
        EvaluationError: there is nothing to draw, images differ in size, or an attention is not
            within 0 to 1.
        StorageError: the file cannot be written.
    """
    check_images([shown.image for shown in maps])
    shared = np.stack([shown.shared for shown in maps])
    if not (shared.min() >= 0 and shared.max() <= 1):  # also false for NaN
        raise EvaluationError(
            f"attention from {shared.min():.3g} to {shared.max():.3g} is not within 0 to 1; pass "
            "the mean over the channels of what the network's attention_maps gives"
        )
    cell = Box.fitting(maps[0].image)
    scale = _Scale.spanning(shared)
    per_line = min(_MAPS_PER_LINE, len(maps))
    num_lines = -(-len(maps) // per_line)
    group_width = 3 * cell.width + 3 * GAP
    row_height = cell.height + 3 * CAPTION_LINE + GAP
    first_top = HEADER + CAPTION_LINE + 4
    sheet = Sheet(
        width=2 * MARGIN + per_line * group_width + _BAR_SPACE,
        height=HEADER + num_lines * row_height + MARGIN // 2,
        title=title,
        subtitle=subtitle,
    )

    for place, shown in enumerate(maps):
        line, column = divmod(place, per_line)
        left, top = MARGIN + column * group_width, first_top + line * row_height
        sheet.write(shown.caption, x=left, y=top - CAPTION_LINE - 4, bold=True)
        level, mean = scale.level(shown.shared), shown.shared.mean()
        for number, (name, panel) in enumerate(
            (
                ("image", shown.image),
                (f"shared {mean:.2f}", _overlay(shown.image, level)),
                (f"specific {1 - mean:.2f}", _overlay(shown.image, 1 - level)),
            )
        ):
            box = cell.at(left=left + number * (cell.width + GAP // 2), top=top)
            sheet.place(panel, box=box)
            sheet.write(name, x=box.left + cell.width / 2, y=box.bottom + 6, align="center")

    bar_left = MARGIN + per_line * group_width + (_BAR_SPACE - _BAR_WIDTH) // 2
    bar = Box(left=bar_left, top=first_top, width=_BAR_WIDTH, height=cell.height)
    _draw_colour_bar(sheet, bar, scale=scale)
    sheet.save(to)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """The shared attention that has the lowest and the highest colour."""

    low: float
    high: float

    @classmethod
    def spanning(cls, shared: NDArray[np.floating]) -> Self:
        low, high = float(shared.min()), float(shared.max())
        # Attention that is the same everywhere must look so, whatever its rounding errors.
        missing = max(0.0, _LEAST_SPAN - (high - low)) / 2
        return cls(low=low - missing, high=high + missing)

    def level(self, share: NDArray[np.floating]) -> NDArray[np.float32]:
        return ((share - self.low) / (self.high - self.low)).astype(np.float32)


def _overlay(image: NDArray[np.uint8], level: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    level_HW = np.asarray(Image.fromarray(level).resize((width, height), Image.Resampling.BILINEAR))
    grey_HW = np.asarray(Image.fromarray(image).convert("L"), np.float32) / 255
    return _blend(level_HW, grey_HW)


def _blend(level_HW: NDArray[np.floating], grey_HW: NDArray[np.floating]) -> NDArray[np.uint8]:
    colour_HW3 = colormaps[_COLOUR_MAP](level_HW)[..., :3]
    mixed = _OVERLAY_SHARE * colour_HW3 + (1 - _OVERLAY_SHARE) * grey_HW[..., None]
    return np.rint(mixed * 255).astype(np.uint8)


def _draw_colour_bar(sheet: Sheet, bar: Box, *, scale: _Scale) -> None:
    """Draw the colours as they are over middle grey, with their values in both parts."""
    level_H1 = np.linspace(1, 0, bar.height, dtype=np.float32)[:, None]
    level_HW = np.repeat(level_H1, bar.width, axis=1)
    sheet.place(_blend(level_HW, np.full(level_HW.shape, 0.5, np.float32)), box=bar)
    for level in (0.0, 0.5, 1.0):
        reach = level * (scale.high - scale.low)
        y = bar.top + (1 - level) * (bar.height - 16)
        sheet.write(f"{scale.low + reach:.2f}", x=bar.left - 8, y=y, align="right")
        sheet.write(f"{1 - scale.high + reach:.2f}", x=bar.right + 8, y=y)
    middle, y = bar.left + bar.width / 2, bar.bottom + 6
    sheet.write("shared", x=middle - 6, y=y, align="right")
    sheet.write("specific", x=middle + 6, y=y)
