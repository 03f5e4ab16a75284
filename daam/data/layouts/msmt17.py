"""MSMT17 (Wei et al., CVPR 2018), V1 and V2: four list files over two trees of folders.

A line of a list is `0000/0000_000_01_0303morning_0015_0.jpg 0`: the path below the train or test
tree and the identity. The name tells the identity, a running number, the camera (two digits), the
time of recording, the frame and the box. V2 is V1 with faces masked and the trees renamed.

Train and test both count identities from 0, for different people. Here they are numbered from 1
and from 10,001, so that no two people share a number and none is taken for a distractor.
"""

import re
from collections.abc import Set
from pathlib import Path

from daam.data.layouts.index import (
    IMAGE_SUFFIXES,
    DatasetIndex,
    ImageRecord,
    SkippedFile,
    in_order,
)
from daam.domains import Split
from daam.errors import LayoutError

# (train tree, test tree) of V1 and V2
TREES = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
# The authors' validation list is part of the training set, as in all published results.
LISTS = {
    "list_train.txt": Split.TRAIN,
    "list_val.txt": Split.TRAIN,
    "list_query.txt": Split.QUERY,
    "list_gallery.txt": Split.GALLERY,
}
FIRST_TRAIN_IDENTITY = 1
FIRST_TEST_IDENTITY = 10_001
LINE = re.compile(
    r"(?P<path>(?P<folder>\d{4})/(?P<person>\d{4})_\d{3}_(?P<camera>\d{2})"
    r"_\d{4}(?:morning|noon|afternoon)_\d+_\d+(?:_ex)?\.jpg) (?P<identity>\d{1,4})"
)


def read_msmt17(root: Path) -> DatasetIndex:
    """Index a folder in the layout of MSMT17_V1 or MSMT17_V2.

    Raises:
        LayoutError: a tree or list is missing or empty, a line fits no rule or names a file that
            is not there, or a file is listed twice.
    """
    train_tree, test_tree = _trees(root)
    records: dict[Path, ImageRecord] = {}
    for list_name, split in LISTS.items():
        tree, first = (
            (train_tree, FIRST_TRAIN_IDENTITY)
            if split == Split.TRAIN
            else (test_tree, FIRST_TEST_IDENTITY)
        )
        for number, line in enumerate(_lines(root / list_name), start=1):
            place = f"{root / list_name}, line {number}"
            record = _record(line, tree=tree, first=first, split=split, place=place)
            if record.path in records:
                raise LayoutError(f"{place} lists {record.path} a second time; remove one of them")
            records[record.path] = record
    skipped = _check_files(records.keys(), root=root, trees=(train_tree, test_tree))
    return DatasetIndex(
        layout="msmt17", root=root, records=in_order(records.values()), skipped=tuple(skipped)
    )


def _trees(root: Path) -> tuple[str, str]:
    found = [trees for trees in TREES if all((root / tree).is_dir() for tree in trees)]
    if len(found) != 1:
        wanted = " or ".join(f"{train} and {test}" for train, test in TREES)
        raise LayoutError(
            f"{root} should hold the folders {wanted}, and one version only; check --root"
        )
    return found[0]


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise LayoutError(
            f"{path} is missing; the layout needs {', '.join(LISTS)} beside the image folders"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise LayoutError(f"cannot read {path}: {error}; unpack it again") from error
    lines = [line.rstrip() for line in lines if line.strip()]
    if not lines:
        raise LayoutError(f"{path} lists no image; unpack it again")
    return lines


def _record(line: str, *, tree: str, first: int, split: Split, place: str) -> ImageRecord:
    match = LINE.fullmatch(line)
    if match is None:
        raise LayoutError(
            f"{place}: {line!r} is not like '0000/0000_000_01_0303morning_0015_0.jpg 0' (path with "
            "identity, number, camera, time, frame and box; then the identity); mend the list"
        )
    identity = int(match["identity"])
    if not int(match["folder"]) == int(match["person"]) == identity:
        raise LayoutError(f"{place}: {line!r} gives two identities for one image; mend the list")
    return ImageRecord(
        path=Path(tree, match["path"]),
        identity=first + identity,
        camera=int(match["camera"]),
        split=split,
    )


def _check_files(listed: Set[Path], *, root: Path, trees: tuple[str, str]) -> list[SkippedFile]:
    present = {
        path.relative_to(root)
        for tree in trees
        for path in (root / tree).rglob("*")
        if path.is_file()
    }
    missing = sorted(listed - present)
    if missing:
        raise LayoutError(
            f"{root / missing[0]} is listed but not there ({len(missing)} such files); unpack the "
            "images again"
        )
    return [
        SkippedFile(
            path=path,
            reason=("in no list" if path.suffix.lower() in IMAGE_SUFFIXES else "not an image file"),
        )
        for path in sorted(present - listed)
    ]
