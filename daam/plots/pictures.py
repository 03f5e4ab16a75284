"""Pictures that show what an evaluation found: ranked lists and attention maps, as PNG files.

Shapes: Q = queries shown, K = nearest gallery images a query, N = images, H = height, W = width
of an image, h and w those of an attention map.
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
from daam.plots.sheet import CROSS, GREY, HEADER, MARGIN, TICK, Box, Frame, Sheet, check_images

# Bluish green and vermillion stay apart under every common colour blindness (Okabe and Ito).
QUERY_FRAME = Frame(colour=GREY, dashed=False, mark=())
RIGHT_FRAME = Frame(colour=(0, 158, 115), dashed=False, mark=TICK)
WRONG_FRAME = Frame(colour=(213, 94, 0), dashed=True, mark=CROSS)

_IMAGE_HEIGHT = 192
_FOOTER = 52
_GAP = 16
_CAPTION_LINE = 18

_MAPS_A_LINE = 4
_COLOUR_MAP = "viridis"
_OVERLAY_SHARE = 0.65
_LEAST_SPAN = 0.02
_BAR_WIDTH, _BAR_SPACE = 18, 130


def spread_queries(average_precisions: NDArray[np.floating], *, count: int) -> NDArray[np.int64]:
    """Choose queries that stand for all of them: no best cases, no worst cases.

    The scored queries are put in order from best to worst and cut into `count` equal shares; the
    middle one of each share is taken.

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


def draw_ranked_lists(
    queries: Sequence[NDArray[np.uint8]],
    *,
    results: Sequence[Sequence[NDArray[np.uint8]]],
    right: NDArray[np.bool_],
    query_captions: Sequence[str],
    result_captions: Sequence[Sequence[str]],
    title: str,
    subtitle: str,
    to: Path,
) -> None:
    """Write a PNG with one row a query: the query, then its nearest gallery images.

    Images of the query's person have a solid green frame and a tick, others a dashed vermillion
    frame and a cross.

    Args:
        queries: Q images (H, W, 3), all images of one size.
        results: for each query its nearest images, nearest first; the places of a list shorter
            than K stay blank.
        right: (Q, K), whether a result shows the query's person; ignored at blank places.
        query_captions: Q texts of at most two lines.
        result_captions: a line for each result, such as its camera.
        title: what was evaluated, and its scores.
        subtitle: which queries these are and how they were chosen.
        to: where to; an existing file is replaced.

    Raises:
        EvaluationError: there is nothing to draw, or the arguments don't fit each other.
        StorageError: the file cannot be written.
    """
    _check_ranked_lists(queries, results, right, query_captions, result_captions)
    cell = _cell(queries[0])
    num_results = right.shape[1]
    row_height = cell.height + 3 * _CAPTION_LINE + _GAP
    first_result = MARGIN + cell.width + 3 * _GAP
    sheet = Sheet(
        width=first_result + num_results * (cell.width + _GAP) - _GAP + MARGIN,
        height=HEADER + _CAPTION_LINE + len(queries) * row_height + _FOOTER,
        title=title,
        subtitle=subtitle,
    )

    lefts = [MARGIN] + [first_result + k * (cell.width + _GAP) for k in range(num_results)]
    for left, name in zip(lefts, ["query", *map(str, range(1, num_results + 1))], strict=True):
        sheet.write(name, x=left + cell.width / 2, y=HEADER, bold=True, align="center")
    for row, query in enumerate(queries):
        top = HEADER + _CAPTION_LINE + 8 + row * row_height
        shown = [query, *results[row]]
        captions = [query_captions[row], *result_captions[row]]
        frames = [QUERY_FRAME, *(RIGHT_FRAME if hit else WRONG_FRAME for hit in right[row])]
        # The lists of places and frames go on where a short gallery has no more images.
        for left, image, caption, frame in zip(lefts, shown, captions, frames, strict=False):
            box = cell.at(left=left, top=top)
            sheet.place(image, box=box)
            sheet.frame(box, frame)
            sheet.write(caption, x=left + cell.width / 2, y=box.bottom + 8, align="center")

    key = Box(left=MARGIN, top=sheet.height - _FOOTER + 8, width=26, height=26)
    for left, frame, meaning in (
        (MARGIN, RIGHT_FRAME, "the query's person, seen by another camera"),
        (MARGIN + 400, WRONG_FRAME, "someone else"),
    ):
        box = key.at(left=left, top=key.top)
        sheet.frame(box, frame)
        sheet.write(meaning, x=box.right + 12, y=box.top + 5)
    sheet.save(to)


def draw_attention_maps(
    images: Sequence[NDArray[np.uint8]],
    *,
    shared: NDArray[np.floating],
    captions: Sequence[str],
    title: str,
    subtitle: str,
    to: Path,
) -> None:
    """Write a PNG that shows where a network looks: each image, its shared and its specific part.

    The maps lie over the greyed image, enlarged bilinearly. Colours tell where: one scale, which
    spans the values that occur, for the shared parts of all images, and its complement for the
    specific parts. How much is written below each map: its mean.

    Args:
        images: N images (H, W, 3), all of one size.
        shared: (N, h, w) in 0..1, the attention of the shared part, mean over the channels; the
            specific part has the rest, 1 - shared.
        captions: a line for each image.
        title: which network this is.
        subtitle: which images these are.
        to: where to; an existing file is replaced.

    Raises:
        EvaluationError: there is nothing to draw, or the arguments don't fit each other.
        StorageError: the file cannot be written.
    """
    _check_attention_maps(images, shared, captions)
    cell = _cell(images[0])
    scale = _Scale.spanning(shared)
    a_line = min(_MAPS_A_LINE, len(images))
    num_lines = -(-len(images) // a_line)
    group_width = 3 * cell.width + _GAP
    row_height = cell.height + 3 * _CAPTION_LINE + _GAP
    sheet = Sheet(
        width=2 * MARGIN + a_line * (group_width + 2 * _GAP) + _BAR_SPACE,
        height=HEADER + num_lines * row_height + MARGIN // 2,
        title=title,
        subtitle=subtitle,
    )

    for place, (image, share, caption) in enumerate(zip(images, shared, captions, strict=True)):
        line, column = divmod(place, a_line)
        left = MARGIN + column * (group_width + 2 * _GAP)
        top = HEADER + _CAPTION_LINE + 4 + line * row_height
        sheet.write(caption, x=left, y=top - _CAPTION_LINE - 4, bold=True)
        panels = (
            ("image", image),
            (f"shared {share.mean():.2f}", _overlay(image, scale.level(share))),
            (f"specific {1 - share.mean():.2f}", _overlay(image, 1 - scale.level(share))),
        )
        for number, (name, panel) in enumerate(panels):
            box = cell.at(left=left + number * (cell.width + _GAP // 2), top=top)
            sheet.place(panel, box=box)
            sheet.write(name, x=box.left + cell.width / 2, y=box.bottom + 6, align="center")

    bar = Box(
        left=MARGIN + a_line * (group_width + 2 * _GAP) + (_BAR_SPACE - _BAR_WIDTH) // 2,
        top=HEADER + _CAPTION_LINE + 4,
        width=_BAR_WIDTH,
        height=cell.height,
    )
    _draw_colour_bar(sheet, bar, scale=scale)
    sheet.save(to)


def _cell(image: NDArray[np.uint8]) -> Box:
    height, width = image.shape[:2]
    shown_width = max(1, round(_IMAGE_HEIGHT * width / height))
    return Box(left=0, top=0, width=shown_width, height=_IMAGE_HEIGHT)


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
    """Show the colours as they are over middle grey, and what each is worth in both parts."""
    level_H1 = np.linspace(1, 0, bar.height, dtype=np.float32)[:, None]
    level_HW = np.repeat(level_H1, bar.width, axis=1)
    grey_HW = np.full(level_HW.shape, 0.5, np.float32)
    sheet.place(_blend(level_HW, grey_HW), box=bar)
    for level in (0.0, 0.5, 1.0):
        value = scale.low + level * (scale.high - scale.low)
        specific = 1 - scale.high + level * (scale.high - scale.low)
        y = bar.top + (1 - level) * (bar.height - 16)
        sheet.write(f"{value:.2f}", x=bar.left - 8, y=y, align="right")
        sheet.write(f"{specific:.2f}", x=bar.right + 8, y=y)
    y = bar.bottom + 6
    sheet.write("shared", x=bar.left + bar.width / 2 - 6, y=y, align="right")
    sheet.write("specific", x=bar.left + bar.width / 2 + 6, y=y)


def _check_ranked_lists(
    queries: Sequence[NDArray[np.uint8]],
    results: Sequence[Sequence[NDArray[np.uint8]]],
    right: NDArray[np.bool_],
    query_captions: Sequence[str],
    result_captions: Sequence[Sequence[str]],
) -> None:
    if not len(queries):
        raise EvaluationError("there is no query to draw a ranked list for; give at least one")
    if right.dtype != np.bool_ or right.ndim != 2 or right.shape[1] == 0:
        raise EvaluationError(
            f"right is {right.dtype} of shape {right.shape}; pass a bool for each query and place"
        )
    counts = {len(queries), len(results), len(right), len(query_captions), len(result_captions)}
    if len(counts) > 1:
        raise EvaluationError(
            f"{len(queries)} queries to draw, but {len(results)} lists of results, {len(right)} "
            f"rows of right, {len(query_captions)} captions of queries and {len(result_captions)} "
            "lists of captions; pass one of each a query"
        )
    for row, (images, captions) in enumerate(zip(results, result_captions, strict=True)):
        if len(images) > right.shape[1] or len(images) != len(captions):
            raise EvaluationError(
                f"query {row} has {len(images)} results and {len(captions)} captions for "
                f"{right.shape[1]} places; pass one caption a result, at most one result a place"
            )
    check_images([*queries, *(image for images in results for image in images)])


def _check_attention_maps(
    images: Sequence[NDArray[np.uint8]], shared: NDArray[np.floating], captions: Sequence[str]
) -> None:
    if not len(images):
        raise EvaluationError("there is no image to draw attention for; give at least one")
    if shared.ndim != 3 or 0 in shared.shape or not len(images) == len(shared) == len(captions):
        raise EvaluationError(
            f"{len(images)} images and {len(captions)} captions, but attention maps of shape "
            f"{shared.shape}; pass one caption and one (h, w) map an image"
        )
    if not (shared.min() >= 0 and shared.max() <= 1):  # also false for NaN
        raise EvaluationError(
            f"attention from {shared.min():.3g} to {shared.max():.3g} is not within 0 to 1; pass "
            "the mean over the channels of what the network's attention_maps gives"
        )
    check_images(images)
