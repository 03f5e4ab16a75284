"""Trees of empty files, for layouts, which open no image."""

from pathlib import Path

from daam.dataset.importing.layouts import DatasetIndex


def make_tree(root: Path, *names: str) -> Path:
    """Make these files below a folder; returns the folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(index: DatasetIndex) -> set[tuple[str, str, int, int]]:
    """Of each record: split, path, identity, camera."""
    return {
        (str(record.split), record.path.as_posix(), record.identity, record.camera)
        for record in index
    }
