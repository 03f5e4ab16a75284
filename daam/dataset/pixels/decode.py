"""JPEGs to pixels of one size.

Shapes: B = images, H = height, W = width; RGB, channels last.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from daam.dataset.pixels.buffers import pixel_memory
from daam.dataset.pixels.image_file import decode_jpeg
from daam.errors import DataError

Jpeg = bytes | memoryview


def decode_images(
    jpegs: Sequence[Jpeg],
    *,
    height: int,
    width: int,
    place: Callable[[int], str] = "row {}".format,
) -> Tensor:
    """Decode JPEGs (colour, grey or CMYK); resize those of another size, bilinear, antialiased.

    The pixels equal Pillow's: bitwise without a resize, within a level with one (CMYK: less
    closely). Decoding directly to a smaller size would take half to a third of the time where it
    applies, but is off by 1 to 1.6 levels on average and by up to 15: store images that are much
    larger than needed at a smaller size instead.

    The calling thread does the work and releases the GIL while it decodes.

    Args:
        jpegs: B encoded images.
        height: H, pixels.
        width: W, pixels.
        place: where an image is, for errors, given its number in `jpegs`.

    Returns:
        (B, H, W, 3) uint8.

    Raises:
        DataError: an image cannot be decoded; the message says where it is.
    """
    images = pixel_memory((len(jpegs), height, width, 3))
    Decoder().decode_into(images, jpegs, place=place)
    return torch.from_numpy(images)


def decode_each(
    jpegs: Sequence[Jpeg],
    *,
    height: int,
    width: int,
    place: Callable[[int], str] = "row {}".format,
    flipped: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yield what `decode_images` returns image by image; one may change once the next is requested.

    Args:
        flipped: (B,) bool, which images to flip from left to right; None: none.

    Raises:
        DataError: as `decode_images`, in place of the image.
    """
    return Decoder().decode_each(jpegs, height=height, width=width, place=place, flipped=flipped)


class Decoder:
    """Decodes JPEGs of a data set; any number of threads may.

    Reading an image's size first costs 3 % of decoding it, and takes the GIL once more, for which
    threads wait. So an image is assumed to have the requested size if the one before had it;
    otherwise its header is read.
    """

    def __init__(self) -> None:
        self._last_fitted = True

    def decode_into(
        self, images: np.ndarray, jpegs: Sequence[Jpeg], *, place: Callable[[int], str]
    ) -> None:
        """Write what `decode_images` returns to (B, H, W, 3) uint8, each image contiguous."""
        for number, (image, jpeg) in enumerate(zip(images, jpegs, strict=True)):
            try:
                pixels = self._decode(jpeg, memory=image)
            except ValueError as error:
                raise _undecodable(jpeg, error, place=place(number)) from error
            if pixels is not image:
                image[:] = pixels

    def decode_each(
        self,
        jpegs: Sequence[Jpeg],
        *,
        height: int,
        width: int,
        place: Callable[[int], str],
        flipped: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """What the function of that name does."""
        memory = pixel_memory((height, width, 3))
        flips = _flips(flipped, len(jpegs))
        for number, (jpeg, is_flipped) in enumerate(zip(jpegs, flips, strict=True)):
            try:
                pixels = self._decode(jpeg, memory=memory, reads_backwards=is_flipped)
            except ValueError as error:
                raise _undecodable(jpeg, error, place=place(number)) from error
            if not is_flipped:
                yield pixels
            elif pixels is memory:
                # A line of BGR read backwards is the flipped line of RGB: a sixth of a flip's time.
                lines = torch.from_numpy(pixels.reshape(height, -1))
                yield lines.flip(1).numpy().reshape(height, width, 3)
            else:
                yield flip(pixels)

    def _decode(
        self, jpeg: Jpeg, *, memory: np.ndarray, reads_backwards: bool = False
    ) -> np.ndarray:
        """Decode a JPEG to (H, W, 3) uint8, resized if necessary.

        Args:
            memory: (H, W, 3) uint8, contiguous.
            reads_backwards: write BGR instead of RGB to `memory`.

        Returns:
            `memory` if the image has its size; otherwise other memory, always RGB.

        Raises:
            ValueError: it cannot be decoded.
        """
        height, width, _ = memory.shape
        fits = self._last_fitted or _size(jpeg) == (height, width)
        if fits:
            fits = _decoded_to(memory, jpeg, colours="BGR" if reads_backwards else "RGB")
        self._last_fitted = fits
        if fits:
            return memory
        return resized(decode_jpeg(jpeg)[None], height=height, width=width)[0]


def flip(pixels_HWC: np.ndarray) -> np.ndarray:
    """Flip (H, W, 3) uint8 from left to right."""
    # torch flips ten times as fast as NumPy.
    return torch.from_numpy(pixels_HWC).flip(1).numpy()


def resized(images_BHWC: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Resize (B, H, W, 3) uint8 images, bilinear and antialiased."""
    images_BCHW = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2)
    resized_BCHW = interpolate(
        images_BCHW, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return resized_BCHW.permute(0, 2, 3, 1).numpy()


def _undecodable(jpeg: Jpeg, error: ValueError, *, place: str) -> DataError:
    return DataError(
        f"the image in {place} can't be decoded ({error}; {len(jpeg)} bytes); "
        "replace its file and import its domain again"
    )


def _decoded_to(memory: np.ndarray, jpeg: Jpeg, *, colours: str) -> bool:
    """Decode a JPEG to memory of (H, W, 3) if it has that size; return whether it has.

    Raises:
        ValueError: it has, and cannot be decoded; or its size cannot be read.
    """
    try:
        pixels = decode_jpeg(jpeg, colorspace=colours, buffer=memory)
    except ValueError:
        if _size(jpeg) == memory.shape[:2]:
            raise
        return False  # it is larger than the memory
    return pixels.shape == memory.shape


def _size(jpeg: Jpeg) -> tuple[int, int]:
    """Height and width."""
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    return int(height), int(width)


def _flips(flipped: np.ndarray | None, num_images: int) -> Sequence[bool]:
    return [False] * num_images if flipped is None else flipped.tolist()
