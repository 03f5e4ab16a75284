"""From an image file of a data set to the JPEG that is stored."""

from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import simplejpeg

from daam.dataset.importing.dataset_index import DatasetIndex
from daam.dataset.pixels.image_file import (
    JPEG_START,
    decode_image,
    image_size,
    jpeg_orientation,
)
from daam.errors import DataError
from daam.spread import spread_evenly

QUALITY = 95
MIN_SIDE, MAX_SIDE = 16, 2048
SIZES_SAMPLED = 200
# Passing images to threads one by one would take as long as decoding small ones.
IMAGES_PER_TASK = 16


def read_jpeg(path: Path, *, size: tuple[int, int] | None = None) -> bytes:
    """Read an image file as JPEG: unchanged and verified, or re-encoded.

    It is re-encoded if its format or size differs, or if EXIF turns it, since what reads a domain
    knows no EXIF: with quality 95 and no chroma subsampling (4:4:4). Clothes are a few dozen pixels
    wide, and halving the resolution of their colours would cost more than it saves.

    Args:
        path: an image file, see `decode_image`.
        size: (height, width) to store it at, resized as in training; None keeps its own.

    Raises:
        DataError: the file cannot be read, is truncated or damaged, or is not an image; the message
            names it.
    """
    try:
        content = _read(path)
        pixels = decode_image(content)
    except DataError as error:
        raise _unreadable(path, error) from error
    if size in (None, pixels.shape[:2]):
        if content.startswith(JPEG_START) and jpeg_orientation(content) == 1:
            return content
    else:
        # Importing torch takes seconds, and few imports change the size.
        from daam.dataset.pixels.decode import resized

        height, width = size
        pixels = np.ascontiguousarray(resized(pixels[None], height=height, width=width)[0])
    return simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="444")


def problem_of(path: Path) -> str | None:
    """Why an image file cannot be imported; None if it can."""
    try:
        decode_image(_read(path))
    except DataError as error:
        return str(error)
    return None


def check_size(size: tuple[int, int], *, index: DatasetIndex) -> None:
    """Refuse a size to store images at that is absurd, or larger than most images.

    Reads the headers of a few images, spread over the data set.

    Raises:
        DataError: it is, or one of these files cannot be read.
    """
    height, width = size
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise DataError(
            f"images cannot be stored at {height}x{width}: each side must be from {MIN_SIDE} to "
            f"{MAX_SIDE} pixels; 256x128 (height x width) is usual"
        )
    paths = pa.concat_tables(index.splits.values())["path"]
    sample = spread_evenly(len(paths), count=SIZES_SAMPLED)
    sizes = [_size_of_file(index.root / paths[row].as_py()) for row in sample]
    num_smaller = sum(height * width < size[0] * size[1] for height, width in sizes)
    if num_smaller > len(sizes) / 2:
        typical = "x".join(str(int(median(sides))) for sides in zip(*sizes, strict=True))
        raise DataError(
            f"most images of {index.root} are smaller than {height}x{width} (typically {typical}, "
            "height x width): stored larger they would take more space and show no more; give a "
            "smaller size, or none to keep them as they are"
        )


def _size_of_file(path: Path) -> tuple[int, int]:
    try:
        return image_size(_read(path))
    except DataError as error:
        raise _unreadable(path, error) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(error.strerror or str(error)) from error


def _unreadable(path: Path, error: DataError) -> DataError:
    return DataError(
        f"{path} cannot be read: {error}; replace or remove it, then import again (--dry-run finds "
        "all such files, --skip-unreadable leaves them out)"
    )
