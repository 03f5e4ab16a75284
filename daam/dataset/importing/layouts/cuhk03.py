"""CUHK03 (Li et al., CVPR 2014) in the new protocol (Zhong et al., CVPR 2017): 767 / 700 people.

Two conversions of the authors' `cuhk-03.mat` are common, each for both kinds of boxes:

- `images_labeled` and `images_detected` with names like `1_001_1_01.png` (pair of cameras, person
  in that pair, view, image), beside them `splits_new_labeled.json` and `splits_new_detected.json`;
- CUHK03-NP: `labeled` and `detected`, each with Market-1501's folders, `0001_c1_1.png` in them.

In the first, identities are numbered as pair and person (1001 for `1_001`): the numbers in the
JSON start again in the train split. Cameras are the two views of a pair, as in the protocol.
"""

import json
import os
from pathlib import Path, PureWindowsPath

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

# The folder of images -> the list of splits beside it.
SPLIT_LISTS = {
    "images_labeled": "splits_new_labeled.json",
    "images_detected": "splits_new_detected.json",
}
SPLITS = {"train": Split.TRAIN, "query": Split.QUERY, "gallery": Split.GALLERY}
PEOPLE_PER_PAIR = 1000
CUHK03_NP = FolderLayout(
    names=NameRule(
        pattern=r"(?P<identity>\d{4})_c(?P<camera>[12])_[1-9]\d*",
        example="0001_c1_1.png",
        meaning="identity, camera, image",
    )
)
RULE = NameRule(
    pattern=r"(?P<pair>[1-9])_(?P<person>\d{3})_(?P<view>[12])_\d{2}",
    example="1_001_1_01.png",
    meaning="pair of cameras, person, view, image",
)


def read_cuhk03(root: Path) -> DatasetIndex:
    """Index one kind of boxes of CUHK03.

    Args:
        root: `images_labeled` or `images_detected`, or `labeled` or `detected` of CUHK03-NP.

    Raises:
        LayoutError: it is none of these, a folder or list is missing, empty or damaged, a name
            matches no rule, or a file is listed twice or not there.
    """
    if os.path.isdir(root / MARKET_FOLDERS[0]):
        return read_folders(root, layout="cuhk03", rules=CUHK03_NP)
    place = root.absolute()
    if place.name not in SPLIT_LISTS:
        raise LayoutError(
            f"{root} is no folder of CUHK03's images; --root is {' or '.join(SPLIT_LISTS)}, or "
            "labeled or detected of CUHK03-NP"
        )
    return _read_listed(root, place.parent / SPLIT_LISTS[place.name])


def _read_listed(root: Path, split_list: Path) -> DatasetIndex:
    index = IndexBuilder(layout="cuhk03", root=root)
    listed: set[str] = set()
    for split, names in _names(split_list).items():
        for name in names:
            if name in listed:
                raise LayoutError(f"{split_list} lists {name} a second time; make it again")
            listed.add(name)
            numbers = RULE.numbers(name, root=root)
            identity = PEOPLE_PER_PAIR * numbers["pair"] + numbers["person"]
            index.add(name, identity=identity, camera=numbers["view"], split=split)
    check_listed(listed, folders=("",), index=index)
    return index.build()


def _names(split_list: Path) -> dict[Split, list[str]]:
    try:
        (lists,) = json.loads(split_list.read_text(encoding="utf-8"))
        # Each entry is [path, identity, camera]; the path is that of the machine that wrote it.
        return {
            split: [PureWindowsPath(entry[0]).name for entry in lists[key]]
            for key, split in SPLITS.items()
        }
    except OSError as error:
        raise LayoutError(
            f"cannot read {split_list}: {error.strerror}; it belongs beside the folder of images"
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise LayoutError(
            f"{split_list} is not a list of one split with train, query and gallery ({error!r}); "
            "make it again"
        ) from error
