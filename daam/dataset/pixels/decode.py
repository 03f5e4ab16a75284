"""JPEGs to pixels of one size, kept decoded if the data set is small.

Shapes: N = rows of the data set, B = images asked for, H = height, W = width; RGB, channels last.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from daam.dataset.pixels.buffers import pixel_memory
from daam.errors import DataError

Jpeg = bytes | memoryview

# The fast variants of the inverse DCT save little and are off by up to 77 levels.
_decode_exactly = partial(simplejpeg.decode_jpeg, fastdct=False, fastupsample=False)


class ImageSource(Protocol):
    """Encoded images by row, such as an `ImageTable`."""

    @property
    def num_rows(self) -> int: ...

    @property
    def cameras(self) -> np.ndarray:
        """(N,) integers."""
        ...

    def jpegs(self, rows: np.ndarray, /) -> Sequence[Jpeg]:
        """One for each of (B,) integers."""
        ...

    def place(self, row: int, /) -> str:
        """Where a row's image is, for messages: `row 3 of shard plaza/train-….arrow`."""
        ...

    @property
    def shards(self) -> tuple[range, ...]:
        """The rows of each shard, in order."""
        ...

    def prefetch(self, shard_numbers: Iterable[int], /) -> None:
        """Fetch shards in the background."""
        ...

    def release(self, shard_numbers: Iterable[int], /) -> None:
        """Let shards be evicted if not all fit into the cache."""
        ...


class Pixels(Protocol):
    """Pixels by row, in the memory of a device."""

    @property
    def source(self) -> ImageSource:
        """What is decoded."""
        ...

    @property
    def num_rows(self) -> int: ...

    @property
    def cameras(self) -> np.ndarray:
        """(N,) integers."""
        ...

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        ...

    def read(self, rows: np.ndarray, /) -> Tensor:
        """The pixels of rows, in their order and with repeats: (B, H, W, 3) uint8."""
        ...


class PixelReader:
    """Pixels by row, decoded in the calling thread; any number of threads may read at once.

    If the pixels of all rows fit into `keep_decoded_bytes`, they are kept once decoded, so that
    later epochs (and other passes with the same reader) copy them instead. Otherwise none are kept.
    Two domains in each of two processes keep at most 128 MiB by default.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        height: int,
        width: int,
        keep_decoded_bytes: int = 32 * 2**20,
    ) -> None:
        self.height = height
        self.width = width
        self.device = torch.device("cpu")
        self.source = source
        self._kept: np.ndarray | None = None
        if source.num_rows * height * width * 3 <= keep_decoded_bytes:
            # The system maps these pages only when pixels are written to them.
            self._kept = np.empty((source.num_rows, height, width, 3), dtype=np.uint8)
        self._is_kept = np.zeros(source.num_rows, dtype=bool)
        self._decoder = _Decoder()

    @property
    def num_rows(self) -> int:
        return self.source.num_rows

    @property
    def cameras(self) -> np.ndarray:
        return self.source.cameras

    def read(self, rows: np.ndarray) -> Tensor:
        """Return the pixels of rows, in their order and with repeats: (B, H, W, 3) uint8, a copy.

        Raises:
            DataError: an image cannot be decoded; the message says where it is.
        """
        images = pixel_memory((len(rows), self.height, self.width, 3))
        self.read_into(images, rows)
        return torch.from_numpy(images)

    def read_into(self, images: np.ndarray, rows: np.ndarray) -> None:
        """Write what `read` returns to `images`, (B, H, W, 3) uint8, each of them contiguous."""
        if self._kept is not None:
            for image, pixels in zip(images, self.each(rows), strict=True):
                image[:] = pixels
        else:
            self._decoder.decode_into(
                images, self.source.jpegs(rows), place=_places(self.source, rows)
            )

    def each(self, rows: np.ndarray, *, flipped: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yield each row's pixels, (H, W, 3) uint8, which may change once the next is asked for.

        For callers that copy them anyway: it saves a copy, and they are still in the processor's
        cache.

        Args:
            rows: (B,) integers.
            flipped: (B,) bool, which images to flip from left to right; None: none.

        Raises:
            DataError: as `read`, in place of the image.
        """
        if self._kept is not None:
            kept = self._kept_with(rows)
            flips = _flips(flipped, len(rows))
            pairs = zip(rows.tolist(), flips, strict=True)
            return (_flipped(kept[row]) if flip else kept[row] for row, flip in pairs)
        return self._decoder.decode_each(
            self.source.jpegs(rows),
            height=self.height,
            width=self.width,
            place=_places(self.source, rows),
            flipped=flipped,
        )

    def _kept_with(self, rows: np.ndarray) -> np.ndarray:
        """The kept pixels, after decoding those of some rows if they are missing."""
        if self._kept is None:
            raise AssertionError("this reader keeps nothing")
        missing = np.unique(rows[~self._is_kept[rows]])
        if len(missing):
            # No lock: two threads that decode the same row write the same bytes, and a row is
            # marked only after its bytes are written.
            decoded = self._decoder.decode_each(
                self.source.jpegs(missing),
                height=self.height,
                width=self.width,
                place=_places(self.source, missing),
            )
            for row, pixels in zip(missing.tolist(), decoded, strict=True):
                self._kept[row] = pixels
            self._is_kept[missing] = True
        return self._kept


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
    _Decoder().decode_into(images, jpegs, place=place)
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
    return _Decoder().decode_each(jpegs, height=height, width=width, place=place, flipped=flipped)


class _Decoder:
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
        for number, (jpeg, flip) in enumerate(zip(jpegs, flips, strict=True)):
            try:
                pixels = self._decode(jpeg, memory=memory, reads_backwards=flip)
            except ValueError as error:
                raise _undecodable(jpeg, error, place=place(number)) from error
            if not flip:
                yield pixels
            elif pixels is memory:
                # A line of BGR read backwards is the flipped line of RGB: a sixth of a flip's time.
                lines = torch.from_numpy(pixels.reshape(height, -1))
                yield lines.flip(1).numpy().reshape(height, width, 3)
            else:
                yield _flipped(pixels)

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
        return resized(_decode_exactly(jpeg)[None], height=height, width=width)[0]


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
        pixels = _decode_exactly(jpeg, colorspace=colours, buffer=memory)
    except ValueError:
        if _size(jpeg) == memory.shape[:2]:
            raise
        return False  # it is larger than the memory
    return pixels.shape == memory.shape


def _size(jpeg: Jpeg) -> tuple[int, int]:
    """Height and width."""
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    return int(height), int(width)


def _places(source: ImageSource, rows: np.ndarray) -> Callable[[int], str]:
    return lambda number: source.place(int(rows[number]))


def _flips(flipped: np.ndarray | None, num_images: int) -> Sequence[bool]:
    return [False] * num_images if flipped is None else flipped.tolist()


def _flipped(pixels_HWC: np.ndarray) -> np.ndarray:
    # torch flips ten times as fast as NumPy.
    return torch.from_numpy(pixels_HWC).flip(1).numpy()


def resized(images_BHWC: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Resize (B, H, W, 3) uint8 images, bilinear and antialiased."""
    images_BCHW = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2)
    resized_BCHW = interpolate(
        images_BCHW, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return resized_BCHW.permute(0, 2, 3, 1).numpy()
