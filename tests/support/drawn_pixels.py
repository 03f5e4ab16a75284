"""What a picture shows, read back from its pixels."""

import numpy as np
from PIL import Image, ImageColor

WHITE = (255, 255, 255)


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def num_pixels(picture, colour):
    return int((picture == ImageColor.getrgb(colour)).all(axis=2).sum())


def flat(level, *, height=32, width=16):
    return np.full((height, width, 3), level, np.uint8)


def runs(mask):
    """(start, end) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def image_rows(picture):
    """(top, bottom) of every line of images; text is lower than they are."""
    inked = (picture != WHITE).any(axis=(1, 2))
    return [(top, bottom) for top, bottom in runs(inked) if bottom - top > 150]


def images_in(row):
    """(left, right) of every image in a line of them."""
    return [(a, b) for a, b in runs((row != WHITE).any(axis=2).mean(axis=0) > 0.3) if b - a > 50]
