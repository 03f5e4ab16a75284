"""The images of any folder or bucket, decoded in the order of their names, without an import.

Shapes: B = images of a batch, H = height, W = width; RGB, channels last.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from daam.dataset.parallel import parallel_map
from daam.dataset.pixels.decode import resized
from daam.dataset.pixels.image_file import SUFFIXES, decode_image
from daam.errors import DataError, StorageError
from daam.storage import MissingKeyError, Store
from daam.storage.store import check_key

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
    return [key for key in store.list() if is_image_name(key)]


def is_image_name(key: str) -> bool:
    """Whether a file has an image suffix and neither it nor a folder above it is hidden."""
    return key.lower().endswith(SUFFIXES) and "/." not in f"/{key}"


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
                image = decode_image(_content(store, name, is_remote=is_remote))
                if image.shape[:2] != (height, width):
                    image = resized(image[None], height=height, width=width)[0]
                pixels.append(image)
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
