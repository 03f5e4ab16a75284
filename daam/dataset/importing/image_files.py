"""The images of any folder or bucket, decoded in the order of their names, without an import.

Shapes: B = images of a batch, H = height, W = width; RGB, channels last.
"""

import struct
import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import simplejpeg
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from daam.dataset.importing.encoding import JPEG_START
from daam.dataset.parallel import parallel_map
from daam.dataset.pixels.decode import resized
from daam.errors import DataError, StorageError
from daam.storage import MissingKeyError, Store
from daam.storage.store import check_key

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
MAX_PIXELS = 80_000_000  # 240 MB once decoded; a file of a few kB can claim any size
# What Pillow and simplejpeg raise for a damaged file.
DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# Reads from a server are latency-bound, so more run at once; a disk keeps up with decoding.
REMOTE_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableFile:
    """A file that is not an image, or is damaged."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBatch:
    """Images of consecutive files.

    Attributes:
        names: B names, relative to the folder.
        images: (B, H, W, 3) uint8.
        unreadable: files among them that could not be decoded.
    """

    names: list[str]
    images: Tensor
    unreadable: list[UnreadableFile]


def list_image_files(store: Store) -> list[str]:
    """The sorted names of all files with an image suffix; hidden files and folders are left out."""
    return [key for key in store.list() if key.lower().endswith(SUFFIXES) and "/." not in f"/{key}"]


def read_image_files(
    store: Store,
    *,
    names: Sequence[str],
    height: int,
    width: int,
    batch_size: int,
    num_threads: int,
) -> Generator[FileBatch, None, None]:
    """Yield the images of files, in order, read and decoded by threads.

    Memory holds a few batches, however many files there are.

    Args:
        store: the folder or bucket.
        names: files in it.
        height: H, to which images are resized, with the same filter as in training.
        width: W.
        batch_size: files in a batch; unreadable ones leave it smaller.
        num_threads: threads that read and decode; for a remote store at least 8.

    Raises:
        StorageError: the store cannot be reached or refuses. A file that is gone, or that this
            machine may not read, is only unreadable.
    """
    is_remote = bool(names) and store.local_path("x") is None

    def read(first: int) -> FileBatch:
        good: list[str] = []
        pixels: list[np.ndarray] = []
        unreadable: list[UnreadableFile] = []
        for name in names[first : first + batch_size]:
            try:
                content = _content(store, name, is_remote=is_remote)
                pixels.append(decode_file(content, height=height, width=width))
                good.append(name)
            except DataError as error:
                printable = name.encode("utf-8", "backslashreplace").decode()
                unreadable.append(UnreadableFile(name=printable, reason=str(error)))
        images = np.stack(pixels) if pixels else np.empty((0, height, width, 3), np.uint8)
        return FileBatch(names=good, images=torch.from_numpy(images), unreadable=unreadable)

    return parallel_map(
        read,
        range(0, len(names), batch_size),
        num_threads=max(num_threads, REMOTE_THREADS) if is_remote else num_threads,
        prefetch=2,
    )


def decode_file(content: bytes, *, height: int, width: int) -> np.ndarray:
    """Decode the content of an image file to (H, W, 3) uint8.

    A JPEG gives the same pixels as in a domain. An alpha channel is dropped, an animation gives its
    first image, and EXIF orientation is not applied.

    Raises:
        DataError: it is not an image, is damaged, has more than 80 megapixels, or more than 8 bits
            per channel.
    """
    try:
        if content.startswith(JPEG_START):
            own_height, own_width, _, _ = simplejpeg.decode_jpeg_header(content)
            _check_size(int(own_height), int(own_width))
            pixels = simplejpeg.decode_jpeg(content, fastdct=False, fastupsample=False)
        else:
            pixels = _decode_other(content)
    except UnidentifiedImageError as error:
        raise DataError("not an image in a format that can be read") from error
    except DAMAGED as error:
        raise DataError(f"a damaged image ({error})") from error
    if pixels.shape[:2] != (height, width):
        pixels = resized(pixels[None], height=height, width=width)[0]
    return pixels


def _decode_other(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        _check_size(image.height, image.width)
        if image.mode[0] in "IF":
            raise DataError(f"pixels of mode {image.mode}, not 8 bits per channel; convert it")
        if image.mode == "P":  # a palette's transparency is lost in RGB, and kept in RGBA
            image = image.convert("RGBA")
        return np.array(image.convert("RGB"))  # a copy, since torch wants a writable array


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise DataError(f"{width} x {height} pixels, more than {MAX_PIXELS:,} in all")


def _content(store: Store, name: str, *, is_remote: bool) -> bytes:
    try:
        check_key(name)
        name.encode()  # a file system allows names that are not UTF-8
    except (StorageError, UnicodeEncodeError) as error:
        raise DataError("a name that cannot be used; rename it") from error
    try:
        return store.read(name)
    except MissingKeyError as error:
        raise DataError("gone since the folder was listed") from error
    except StorageError as error:
        if is_remote:
            raise
        raise DataError(str(error)) from error
