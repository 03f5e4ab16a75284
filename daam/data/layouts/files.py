"""Walks over a data set's folder that hold one file at a time."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from daam.data.layouts.index import DatasetIndex
from daam.errors import LayoutError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name, and none that a system hides beside one."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def image_files(folder: Path, *, index: DatasetIndex) -> Iterator[Path]:
    """Yield the images directly in a folder, and skip all else in the index.

    Paths are relative to the data set's folder.

    Raises:
        LayoutError: the folder is missing, unreadable or holds no image.
    """
    found = False
    for entry in _entries(folder, root=index.root):
        path = Path(entry.path).relative_to(index.root)
        if entry.is_dir():
            index.skip(path, "a folder")
        elif is_image(path):
            found = True
            yield path
        else:
            index.skip(path, "not an image file")
    if not found:
        raise LayoutError(
            f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}); unpack the data set "
            "into it or check --root"
        )


def files_below(folder: Path, *, root: Path) -> Iterator[Path]:
    """Yield all files in a folder and the folders in it, relative to the data set's.

    Raises:
        LayoutError: a folder is missing or unreadable.
    """
    for entry in _entries(folder, root=root):
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path), root=root)
        elif entry.is_file():
            yield Path(entry.path).relative_to(root)


def skip_unlisted(index: DatasetIndex, *, folders: Iterable[Path]) -> None:
    """Skip the files below folders that are not in the index, which is made from lists.

    Raises:
        LayoutError: a file of the index is not there, or a folder is unreadable.
    """
    root = index.root
    missing = (
        file.path for file in chain(index, index.skipped()) if not (root / file.path).is_file()
    )
    first = next(missing, None)
    if first is not None:
        num_missing = 1 + sum(1 for _ in missing)
        raise LayoutError(
            f"{root / first} is listed but not there ({num_missing} such files); unpack the "
            "images again"
        )
    for folder in folders:
        for path in files_below(folder, root=root):
            index.skip(path, "in no list" if is_image(path) else "not an image file")


def _entries(folder: Path, *, root: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise LayoutError(
            f"cannot read {folder}: {error.strerror}; {_what_to_do(error, folder, root=root)}"
        ) from error


def _what_to_do(error: OSError, folder: Path, *, root: Path) -> str:
    wanted = folder.relative_to(root)
    if isinstance(error, FileNotFoundError) and root.is_dir():
        for child in sorted(root.iterdir()):
            if (child / wanted).is_dir():
                return f"did you mean --root {child}?"
    return "check --root and --layout"
