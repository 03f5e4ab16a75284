"""Trees of empty files, for layouts, which open no image, and what is found in them."""

from pathlib import Path
from typing import NamedTuple

from daam.dataset.importing.dataset_index import DatasetIndex
from daam.domains import Split


class Record(NamedTuple):
    """An image of an index."""

    split: str
    path: str
    identity: int
    camera: int


def make_tree(root: Path, *names: str) -> Path:
    """Make these files below a folder; returns the folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def records(index: DatasetIndex, *splits: Split) -> list[Record]:
    """The images of an index, or of some of its splits, in its order."""
    return [
        Record(split=split, **row)
        for split, images in index.splits.items()
        if not splits or split in splits
        for row in images.select(["path", "identity", "camera"]).to_pylist()
    ]


def found(index: DatasetIndex) -> set[tuple[str, str, int, int]]:
    """Of each image: split, path, identity, camera."""
    return set(records(index))


def skipped(index: DatasetIndex) -> list[tuple[str, str]]:
    """Of each skipped file: path, reason."""
    return [(file.path, file.reason) for file in index.skipped]
