"""Walks over a data set's folder. Paths are relative to it, with slashes.

`os.path` tells files from folders: unlike `Path`, it raises nothing for inaccessible paths and for
links to themselves.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from daam.dataset.importing.dataset_index import IndexBuilder
from daam.dataset.importing.layouts.own_images import OwnImages
from daam.errors import LayoutError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")


def is_image(path: str) -> bool:
    """Whether a file is an image by its name, and not one that a system hides beside it."""
    name = path.rpartition("/")[2]
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def images_in(folder: str, *, index: IndexBuilder) -> Iterator[str]:
    """Yield the images directly in a folder, and skip everything else in the index.

    Raises:
        LayoutError: the folder is missing, unreadable or holds no image.
    """
    found = False
    for entry in _entries(folder, root=index.root):
        path = f"{folder}/{entry.name}"
        if os.path.isdir(entry) if entry.is_symlink() else entry.is_dir():
            index.skip(path, "a folder")
        elif is_image(path):
            found = True
            yield path
        else:
            index.skip(path, "not an image file")
    if not found:
        raise LayoutError(
            f"{index.root / folder} holds no image ({', '.join(IMAGE_SUFFIXES)}); unpack the data "
            "set into it or check --root"
        )


def files_below(
    folder: str, *, index: IndexBuilder | OwnImages, notes_links: bool = False
) -> Iterator[str]:
    """Yield all files in a folder and its subfolders.

    Links to folders are not followed. A subfolder without permission to read is skipped in the
    index.

    Args:
        folder: relative to the data set's folder.
        index: of the data set.
        notes_links: whether links to folders, and broken links, are skipped in the index as well.

    Raises:
        LayoutError: the folder itself is missing or unreadable.
    """
    for entry in _entries(folder, root=index.root):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if not entry.is_dir(follow_symlinks=False):
            if os.path.isfile(entry) if entry.is_symlink() else entry.is_file():
                yield path
            elif notes_links and entry.is_symlink():
                is_folder = os.path.isdir(entry)
                index.skip(path, "a link to a folder" if is_folder else "a broken link")
        elif os.access(entry.path, os.R_OK | os.X_OK):
            yield from files_below(path, index=index, notes_links=notes_links)
        else:
            index.skip(path, "a folder that may not be read")


def check_listed(listed: set[str], *, folders: Iterable[str], index: IndexBuilder) -> None:
    """Refuse lists that name missing files, and skip the files that no list names.

    Args:
        listed: the paths in all lists.
        folders: where listed files lie.
        index: of the data set.

    Raises:
        LayoutError: a listed file is missing, or a folder is unreadable.
    """
    missing = [path for path in listed if not os.path.isfile(index.root / path)]
    if missing:
        raise LayoutError(
            f"{index.root / min(missing)} is listed but not there ({len(missing)} such files); "
            "unpack the images again"
        )
    for folder in folders:
        for path in files_below(folder, index=index):
            if path not in listed:
                index.skip(path, "in no list" if is_image(path) else "not an image file")


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; none if it cannot be read."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if os.path.isdir(entry))
    return []


def _entries(folder: str, *, root: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(root / folder) as entries:
            yield from entries
    except OSError as error:
        raise LayoutError(
            f"cannot read {root / folder}: {error.strerror}; {_advice(error, folder, root=root)}"
        ) from error


def _advice(error: OSError, folder: str, *, root: Path) -> str:
    if isinstance(error, PermissionError):
        return "change its permissions"
    for place in (root.absolute().parent, *folders_in(root)):
        if folder and os.path.isdir(place / folder):
            return f"did you mean --root {place}?"
    return "check --root and --layout"
