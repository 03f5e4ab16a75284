"""Walks over a data set's folder that hold one file at a time."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from daam.dataset.importing.layouts.index import DatasetIndex
from daam.errors import LayoutError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name, and none that a system hides beside one."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def is_folder(path: Path) -> bool:
    """Whether a folder is there; what may not be looked at, or is a link to itself, is none."""
    with suppress(OSError):
        return path.is_dir()
    return False


def is_file(path: Path) -> bool:
    """Whether a file is there; what may not be looked at, or is a link to itself, is none."""
    with suppress(OSError):
        return path.is_file()
    return False


def image_files(folder: Path, *, index: DatasetIndex) -> Iterator[Path]:
    """Yield the images directly in a folder, and skip all else in the index.

    Paths are relative to the data set's folder.

    Raises:
        LayoutError: the folder is missing, unreadable or holds no image.
    """
    found = False
    for entry in _entries(folder, root=index.root):
        path = Path(entry.path).relative_to(index.root)
        if is_folder(Path(entry.path)) if entry.is_symlink() else entry.is_dir():
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


def files_below(folder: Path, *, index: DatasetIndex) -> Iterator[Path]:
    """Yield all files in a folder and the folders in it, relative to the data set's.

    Links to folders are not followed. A folder in it that may not be read is skipped in the index.

    Raises:
        LayoutError: the folder itself is missing or unreadable.
    """
    for entry in _entries(folder, root=index.root):
        path = Path(entry.path)
        if not entry.is_dir(follow_symlinks=False):
            if is_file(path) if entry.is_symlink() else entry.is_file():
                yield path.relative_to(index.root)
        elif os.access(path, os.R_OK | os.X_OK):
            yield from files_below(path, index=index)
        else:
            index.skip(path.relative_to(index.root), "a folder that may not be read")


def skip_unlisted(index: DatasetIndex, *, folders: Iterable[Path]) -> None:
    """Skip the files below folders that are not in the index, which is made from lists.

    Raises:
        LayoutError: a file of the index is not there, or a folder is unreadable.
    """
    root = index.root
    missing = (file.path for file in chain(index, index.skipped()) if not is_file(root / file.path))
    first = next(missing, None)
    if first is not None:
        num_missing = 1 + sum(1 for _ in missing)
        raise LayoutError(
            f"{root / first} is listed but not there ({num_missing} such files); unpack the "
            "images again"
        )
    for folder in folders:
        for path in files_below(folder, index=index):
            index.skip(path, "in no list" if is_image(path) else "not an image file")


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, in the order of their names; none if it is none."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(path for entry in entries if is_folder(path := Path(entry.path)))
    return []


def _entries(folder: Path, *, root: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise LayoutError(
            f"cannot read {folder}: {error.strerror}; {_what_to_do(error, folder, root=root)}"
        ) from error


def _what_to_do(error: OSError, folder: Path, *, root: Path) -> str:
    if isinstance(error, PermissionError):
        return "change its permissions"
    wanted = folder.relative_to(root)
    for child in folders_in(root):
        if is_folder(child / wanted):
            return f"did you mean --root {child}?"
    return "check --root and --layout"
