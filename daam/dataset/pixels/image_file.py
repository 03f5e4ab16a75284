"""The content of an image file to pixels: one set of rules for importing, embedding and searching.

Shapes: H = height, W = width; RGB, channels last. Nothing here imports torch.
"""

from functools import partial
from io import BytesIO

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from daam.errors import DataError

# Pillow knows more, among them EPS, for which it runs a PostScript interpreter.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# How such files are named.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
JPEG_START = b"\xff\xd8\xff"
MAX_PIXELS = 80_000_000  # 240 MB once decoded; a file of a few kB can claim any size
MAX_SIDE = 65_500  # of what JPEG can store, as which an import stores it
# A few dead or hot pixels must not decide the contrast of an image.
DARKEST, BRIGHTEST = 1, 99  # percentiles

# The fast variants of the inverse DCT save little and are off by up to 77 levels.
decode_jpeg = partial(simplejpeg.decode_jpeg, fastdct=False, fastupsample=False)


def decode_image(content: bytes) -> np.ndarray:
    """Decode an image file to the pixels that a viewer shows: (H, W, 3) uint8.

    - The format (JPEG, PNG, BMP, GIF, PPM, TIFF, WebP) is found from the content.
    - EXIF orientation is applied. An alpha channel is dropped; an animation gives its first image.
    - Grey with more than 8 bits (thermal and infrared cameras) is scaled image by image: the 1st
      percentile becomes 0, the 99th 255, as such cameras do themselves when they send 8 bits. Their
      counts fill a small part of the 16 bits, and a different one for each sensor and day, so a
      fixed scale would leave most images black.
    - Colours with 16 bits fill their range, so the upper 8 bits are taken.
    - Floating-point pixels are refused: they have no range to scale from.

    Raises:
        DataError: it is not an image in one of these formats, is damaged, is larger than 80
            megapixels or 65,500 pixels on a side, or has floating-point pixels. The message is one
            line and does not name the file, which only the caller knows.
    """
    image_size(content)  # before memory is allocated
    try:
        if content.startswith(JPEG_START) and jpeg_orientation(content) == 1:
            return decode_jpeg(content)
        with _opened(content) as image:
            image.load()  # which turns a TIFF, and resets its orientation
            upright = image if _orientation(image) == 1 else ImageOps.exif_transpose(image)
            return _rgb(upright)
    except DataError:
        raise
    except Exception as error:
        raise _undecodable(error) from error


def image_size(content: bytes | memoryview) -> tuple[int, int]:
    """Read height and width from a file's header, exchanged if EXIF lays the image on its side.

    Raises:
        DataError: it is not an image, or larger than `decode_image` allows.
    """
    if not content:
        raise DataError("an empty file")
    try:
        if content[: len(JPEG_START)] == JPEG_START:
            height, width, *_ = map(int, simplejpeg.decode_jpeg_header(content)[:2])
        else:
            with _opened(content) as image:
                width, height = image.size
    except UnidentifiedImageError as error:
        raise DataError(
            f"not an image in a format that can be read ({', '.join(FORMATS)})"
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:
        raise _undecodable(error) from error
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        limits = f"the most are {MAX_PIXELS:,} in all and {MAX_SIDE:,} on a side"
        raise DataError(f"{width} x {height} pixels; {limits}")
    return height, width


def jpeg_orientation(content: bytes) -> int:
    """Return the EXIF orientation of a JPEG: 1 if it is upright, has none or an invalid one."""
    if b"Exif\0\0" not in content:  # most have none, and Pillow takes as long as decoding
        return 1
    try:
        with _opened(content) as image:
            return _orientation(image)
    except Exception:  # a JPEG that Pillow cannot open; decoding it says what is wrong
        return 1


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
        return found if isinstance(found, int) and 2 <= found <= 8 else 1
    except Exception:  # viewers ignore damaged EXIF too
        return 1


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise DataError("floating-point pixels, which have no fixed range to scale from")
    if image.mode.startswith("I"):
        return np.repeat(_scaled(np.asarray(image))[:, :, None], 3, axis=2)
    if image.mode == "P":  # a palette's transparency is lost in RGB, and kept in RGBA
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))  # a copy, since torch wants a writable array


def _scaled(grey_HW: np.ndarray) -> np.ndarray:
    darkest, brightest = np.percentile(grey_HW, (DARKEST, BRIGHTEST))
    scaled_HW = (grey_HW - darkest) * (255 / max(brightest - darkest, 1))
    return np.rint(scaled_HW.clip(0, 255)).astype(np.uint8)


def _opened(content: bytes | memoryview) -> Image.Image:
    return Image.open(BytesIO(content), formats=FORMATS)


def _undecodable(error: Exception) -> DataError:
    # Decoders raise nearly everything for damaged files: struct.error, KeyError, MemoryError, ...
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"an image that is damaged or cannot be decoded ({reason})")
