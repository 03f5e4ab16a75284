"""What every layout is turned into, and the rules that hold for all of them."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from daam.domains import Split
from daam.errors import DataError, LayoutError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of a data set.

    Attributes:
        path: relative to the data set's folder.
        identity: the person, from 1; 0 is a distractor, -1 junk.
        camera: the number the data set gives it.
    """

    path: Path
    identity: int
    camera: int
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedFile:
    """A file that is no image of the data set, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIndex:
    """All images of a data set, ordered by path within each split.

    Attributes:
        without_val: whether the authors' validation list was left out of the train split.
    """

    layout: str
    root: Path
    records: tuple[ImageRecord, ...]
    skipped: tuple[SkippedFile, ...]
    without_val: bool = False

    def of(self, *splits: Split) -> tuple[ImageRecord, ...]:
        """The records of these splits, in the index's order."""
        return tuple(record for record in self.records if record.split in splits)


def check_index(index: DatasetIndex) -> DatasetIndex:
    """Return an index that people can be searched in.

    Raises:
        LayoutError: it has neither a train split nor query and gallery, or only one of those two.
        DataError: its train split, or query and gallery together, come from a single camera, so
            that no person can be matched across cameras.
    """
    present = {record.split for record in index.records}
    if (Split.QUERY in present) != (Split.GALLERY in present):
        raise LayoutError(
            f"{index.root} has only one of query and gallery; a domain has both or neither"
        )
    if not present:
        raise LayoutError(f"{index.root} has no images; check the folder and the layout")
    for name, splits in (
        ("train", (Split.TRAIN,)),
        ("query and gallery", (Split.QUERY, Split.GALLERY)),
    ):
        cameras = {record.camera for record in index.of(*splits)}
        if len(cameras) == 1:
            raise DataError(
                f"{name} of {index.root} has images of camera {cameras.pop()} only; people are "
                "matched across cameras, so at least two are needed"
            )
    return index


def image_files(folder: Path, *, root: Path) -> tuple[list[Path], list[SkippedFile]]:
    """The images directly in a folder and the files to skip, as paths relative to `root`.

    Raises:
        LayoutError: the folder is missing, unreadable or holds no image.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise LayoutError(
            f"cannot read {folder}: {error.strerror}; {_where_to_look(folder, root=root)}"
        ) from error
    images: list[Path] = []
    skipped: list[SkippedFile] = []
    for entry in entries:
        path = entry.relative_to(root)
        if entry.is_dir():
            skipped.append(SkippedFile(path=path, reason="a folder"))
        elif is_image(entry):
            images.append(path)
        else:
            skipped.append(SkippedFile(path=path, reason="not an image file"))
    if not images:
        raise LayoutError(
            f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}); unpack the data set "
            "into it or check --root"
        )
    return images, skipped


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name, and none that a system hides beside one."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def unlisted_files(listed: Set[Path], *, root: Path, folders: Iterable[Path]) -> list[SkippedFile]:
    """The files below folders that no list names.

    Args:
        listed: paths relative to `root`.
        root: the data set's folder.
        folders: where all of them must be.

    Raises:
        LayoutError: a listed file is not there.
    """
    present = {
        path.relative_to(root) for folder in folders for path in folder.rglob("*") if path.is_file()
    }
    missing = sorted(listed - present)
    if missing:
        raise LayoutError(
            f"{root / missing[0]} is listed but not there ({len(missing)} such files); unpack the "
            "images again"
        )
    return [
        SkippedFile(path=path, reason="in no list" if is_image(path) else "not an image file")
        for path in sorted(present - listed)
    ]


def in_order(records: Iterable[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Records by split, then by path: the order of an index."""
    splits = list(Split)
    return tuple(
        sorted(records, key=lambda record: (splits.index(record.split), record.path.as_posix()))
    )


def _where_to_look(folder: Path, *, root: Path) -> str:
    wanted = folder.relative_to(root)
    if root.is_dir():
        for child in sorted(root.iterdir()):
            if (child / wanted).is_dir():
                return f"did you mean --root {child}?"
    return "check --root and --layout"
