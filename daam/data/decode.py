"""JPEGs to pixels of one size, and a reader that decodes an image once when the data set is small.

Shapes: N = rows of the data set, B = images asked for, H = height, W = width; RGB, channels last.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from daam.errors import DataError

Jpeg = bytes | memoryview


class ImageSource(Protocol):
    """Encoded images by row, such as a memory-mapped table of shards."""

    @property
    def num_rows(self) -> int: ...

    @property
    def cameras(self) -> np.ndarray:
        """(N,) integers."""
        ...

    def jpegs(self, rows: np.ndarray, /) -> Sequence[Jpeg]:
        """One for each of (B,) integers."""
        ...


class PixelReader:
    """Pixels by row, decoded in the calling thread; any number of threads may read at once.

    If all rows' pixels fit into `keep_decoded_bytes` they are kept once decoded, so that later
    epochs (and other passes that share the reader) copy instead of decoding. If not, none are kept.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        height: int,
        width: int,
        keep_decoded_bytes: int = 256 * 2**20,
    ) -> None:
        self.height = height
        self.width = width
        self._source = source
        self._kept: np.ndarray | None = None
        if source.num_rows * height * width * 3 <= keep_decoded_bytes:
            # The system gives memory to these pages only when pixels are written to them.
            self._kept = np.empty((source.num_rows, height, width, 3), dtype=np.uint8)
        self._is_kept = np.zeros(source.num_rows, dtype=bool)

    @property
    def num_rows(self) -> int:
        return self._source.num_rows

    @property
    def cameras(self) -> np.ndarray:
        return self._source.cameras

    def read(self, rows: np.ndarray) -> Tensor:
        """Return the pixels of rows, in their order and with repeats: (B, H, W, 3) uint8, a copy.

        Raises:
            DataError: an image cannot be decoded; the message names its row.
        """
        if self._kept is None:
            return self._decode(rows)
        missing = np.unique(rows[~self._is_kept[rows]])
        if len(missing):
            # Two threads may decode the same row: they write the same bytes, and a row is marked
            # only after its bytes are there, so nobody needs to wait for a lock.
            self._kept[missing] = self._decode(missing).numpy()
            self._is_kept[missing] = True
        return torch.from_numpy(self._kept[rows])

    def _decode(self, rows: np.ndarray) -> Tensor:
        return decode_images(
            self._source.jpegs(rows), height=self.height, width=self.width, rows=rows.tolist()
        )


def decode_images(
    jpegs: Sequence[Jpeg], *, height: int, width: int, rows: Sequence[int] | None = None
) -> Tensor:
    """Decode JPEGs (colour, grey or CMYK); resize those of another size, bilinear, antialiased.

    The pixels equal Pillow's: to the bit without a resize, within a level with it (CMYK: less
    closely). Decoding straight to a smaller size would take half to a third of the time where it
    applies, but is off by 1 to 1.6 levels on average and by up to 15: images that are much larger
    than needed are better stored smaller.

    The work is done in the calling thread, which leaves the interpreter to others while it decodes.

    Args:
        jpegs: B encoded images.
        height: H, pixels.
        width: W, pixels.
        rows: B numbers that tell the images apart in an error; by default their places in `jpegs`.

    Returns:
        (B, H, W, 3) uint8.

    Raises:
        DataError: an image cannot be decoded; the message names its row.
    """
    images = np.empty((len(jpegs), height, width, 3), dtype=np.uint8)
    other_sizes: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for place, jpeg in enumerate(jpegs):
        try:
            # The fast variants of the transform save little and are off by up to 77 levels.
            pixels = simplejpeg.decode_jpeg(jpeg, fastdct=False, fastupsample=False)
        except ValueError as error:
            row = place if rows is None else rows[place]
            raise DataError(
                f"the image in row {row} is not a whole JPEG ({error}; {len(jpeg)} bytes); "
                "replace the file and import its domain again"
            ) from error
        if pixels.shape == images.shape[1:]:
            images[place] = pixels
        else:
            other_sizes.setdefault(pixels.shape, []).append((place, pixels))
    for same_size in other_sizes.values():
        places, stack = zip(*same_size, strict=True)
        images[list(places)] = resized(np.stack(stack), height=height, width=width)
    return torch.from_numpy(images)


def resized(images_BHWC: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Resize (B, H, W, 3) uint8 images, bilinear and antialiased, to whole levels."""
    images_BCHW = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2)
    resized_BCHW = interpolate(
        images_BCHW, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return resized_BCHW.permute(0, 2, 3, 1).numpy()
