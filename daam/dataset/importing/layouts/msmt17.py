"""MSMT17 (Wei et al., CVPR 2018), V1 and V2: four list files over two trees of folders.

(A common conversion has `0000_c1_0008.jpg`, identity, camera and frame, in Market-1501's folders
instead, with the validation list in the train split.)

A line of a list is `0000/0000_000_01_0303morning_0015_0.jpg 0`: the path below the train or test
tree and the identity. The name has the identity, a running number, the camera (two digits), the
time of recording, the frame and the box. V2 is V1 with faces masked and the trees renamed.

Train and test both count identities from 0, for different people. Here they are numbered from 1
and from 10,001, so that no two people share a number and none is taken for a distractor.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from daam.dataset.importing.dataset_index import DatasetIndex, IndexBuilder
from daam.dataset.importing.layouts.files import check_listed
from daam.dataset.importing.layouts.rules import (
    MARKET_FOLDERS,
    FolderLayout,
    NameRule,
    read_folders,
)
from daam.domains import Split
from daam.errors import LayoutError

# (train tree, test tree) of V1 and V2
TREES = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
VALIDATION_LIST = "list_val.txt"
LISTS = {
    "list_train.txt": Split.TRAIN,
    VALIDATION_LIST: Split.TRAIN,
    "list_query.txt": Split.QUERY,
    "list_gallery.txt": Split.GALLERY,
}
FIRST_TRAIN_IDENTITY, FIRST_TEST_IDENTITY = 1, 10_001
LINE = re.compile(
    r"(?P<path>(?P<folder>\d{4})/(?P<person>\d{4})_\d{3}_(?P<camera>\d{2})"
    r"_\d{4}(?:morning|noon|afternoon)_\d+_\d+(?:_ex)?\.jpg) (?P<identity>\d{1,4})"
)
CONVERTED = FolderLayout(
    names=NameRule(
        pattern=r"(?P<identity>-1|\d{4})_c(?P<camera>\d{1,2})_\d{4}",
        example="0000_c1_0008.jpg",
        meaning="identity, camera, frame",
    ),
    first_identities=(FIRST_TRAIN_IDENTITY, FIRST_TEST_IDENTITY, FIRST_TEST_IDENTITY),
)


def read_msmt17(root: Path, *, with_val: bool = True) -> DatasetIndex:
    """Index a folder in the layout of MSMT17_V1 or MSMT17_V2, or converted to Market-1501's.

    Args:
        root: the data set's folder.
        with_val: keep the authors' validation list in the train split, as in most published
            results; if not, its images are left out and counted.

    Raises:
        LayoutError: a tree, list or folder is missing or empty, a line or name fits no rule, a line
            names a file that is not there, a file is listed twice, or the validation list cannot
            be left out of a conversion that has no lists.
    """
    if not os.path.isdir(root / MARKET_FOLDERS[0]):
        return _read_lists(root, with_val=with_val)
    if not with_val:
        raise LayoutError(
            f"{root} has no lists, so it does not say which images are in {VALIDATION_LIST}; "
            "import the original, or keep these images (without --without-val)"
        )
    return read_folders(root, layout="msmt17", rules=CONVERTED)


def _read_lists(root: Path, *, with_val: bool) -> DatasetIndex:
    train_tree, test_tree = _trees(root)
    index = IndexBuilder(layout="msmt17", root=root, without_val=not with_val)
    listed: set[str] = set()
    for list_name, split in LISTS.items():
        is_train = split == Split.TRAIN
        tree = train_tree if is_train else test_tree
        first_identity = FIRST_TRAIN_IDENTITY if is_train else FIRST_TEST_IDENTITY
        for place, line in _lines(root / list_name):
            path, identity, camera = _parsed(line, tree=tree, place=place)
            if path in listed:
                raise LayoutError(f"{place} lists {path} a second time; remove one of them")
            listed.add(path)
            if list_name == VALIDATION_LIST and not with_val:
                index.skip(path, f"in {VALIDATION_LIST}")
            else:
                index.add(path, identity=first_identity + identity, camera=camera, split=split)
    check_listed(listed, folders=(train_tree, test_tree), index=index)
    return index.build()


def _trees(root: Path) -> tuple[str, str]:
    found = [trees for trees in TREES if all(os.path.isdir(root / tree) for tree in trees)]
    if len(found) != 1:
        wanted = " or ".join(f"{train} and {test}" for train, test in TREES)
        raise LayoutError(
            f"{root} should hold the folders {wanted}, and one version only; check --root"
        )
    return found[0]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line of a list, with where it is for messages."""
    found = False
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    found = True
                    yield f"{path}, line {number}", line.rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise LayoutError(
            f"cannot read {path}: {error}; the layout needs {', '.join(LISTS)} beside the image "
            "folders"
        ) from error
    if not found:
        raise LayoutError(f"{path} lists no image; unpack it again")


def _parsed(line: str, *, tree: str, place: str) -> tuple[str, int, int]:
    """Path, identity and camera of a line."""
    match = LINE.fullmatch(line)
    if match is None:
        raise LayoutError(
            f"{place}: {line!r} is not like '0000/0000_000_01_0303morning_0015_0.jpg 0' (path with "
            "identity, number, camera, time, frame and box; then the identity); correct the list"
        )
    identity = int(match["identity"])
    if not int(match["folder"]) == int(match["person"]) == identity:
        raise LayoutError(f"{place}: {line!r} gives an image two identities; correct the list")
    return f"{tree}/{match['path']}", identity, int(match["camera"])
