"""A contact sheet: images of a dataset in a grid that a person can look at."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from daam.errors import ConfigError, DataError
from daam.storage.atomic import atomic_write

_GAP = 4
_TITLE_HEIGHT = 16
_PAPER, _INK = (250, 250, 248), (40, 40, 44)


def write_contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], *, titles: Sequence[str], to: Path
) -> None:
    """Write a PNG with one titled line of images per row, for example one identity per row.

    Args:
        rows: images (H, W, 3) uint8; every image is shown at the size of the first one.
        titles: one per row.

    Raises:
        ConfigError: `to` is not named as a PNG.
        DataError: there is nothing to show, or not one title per row.
        StorageError: the picture cannot be written.
    """
    if to.suffix.lower() != ".png":
        raise ConfigError(f"the contact sheet {to} is a PNG; let its name end in .png")
    if not rows or not any(len(row) for row in rows):
        raise DataError(f"no images for the contact sheet {to}; give at least one row of images")
    if len(titles) != len(rows):
        raise DataError(
            f"the contact sheet {to} has {len(rows)} rows but {len(titles)} titles; "
            "give one title per row"
        )
    height, width = next(image for row in rows for image in row).shape[:2]
    line = height + _TITLE_HEIGHT + _GAP
    longest = max(len(row) for row in rows)
    font = ImageFont.load_default(size=11)
    title_width = max(int(font.getlength(title)) for title in titles)
    sheet_width = max(_GAP + longest * (width + _GAP), title_width + 2 * _GAP)
    sheet = Image.new("RGB", (sheet_width, _GAP + len(rows) * line), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (row, title) in enumerate(zip(rows, titles, strict=True)):
        top = _GAP + number * line
        draw.text((_GAP, top), title, fill=_INK, font=font)
        for column, image in enumerate(row):
            picture = Image.fromarray(image)
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(picture, (_GAP + column * (width + _GAP), top + _TITLE_HEIGHT))
    png = BytesIO()
    sheet.save(png, format="PNG")
    atomic_write(to, [png.getvalue()])
