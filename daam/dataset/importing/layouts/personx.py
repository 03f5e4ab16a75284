"""PersonX (Sun and Zheng, CVPR 2019): `0001_c1s1_33.jpg`, a subset for each of six backgrounds.

The name tells the identity, the camera (the background), a number without meaning and the
viewpoint, one of 36. `PersonX_v1` has the subsets as folders `1` to `6`, each with Market-1501's
three folders. A person has one number in all of them, so subsets are read together.
"""

from collections.abc import Iterable
from pathlib import Path

from daam.dataset.importing.layouts.files import folders_in, is_folder
from daam.dataset.importing.layouts.folders import MARKET_FOLDERS, read_folders
from daam.dataset.importing.layouts.index import DatasetIndex, ImageRecord
from daam.dataset.importing.layouts.names import NameRule
from daam.domains import Split
from daam.errors import LayoutError

RULE = NameRule(
    pattern=r"(?P<identity>\d{4})_c(?P<camera>\d+)s\d+_\d{1,2}",
    example="0001_c1s1_33.jpg",
    meaning="identity, camera and a constant, viewpoint",
)


def read_personx(root: Path) -> DatasetIndex:
    """Index all subsets below a folder, or the one that it is.

    Raises:
        LayoutError: a folder is missing or empty, a name fits no rule, or two subsets have images
            of one camera, so that it is not one background.
    """
    folders = [
        {split: f"{subset}/{folder}" for split, folder in MARKET_FOLDERS.items()}
        for subset in _subsets(root)
    ]
    index = read_folders(
        root, layout="personx", rule=RULE, folders=folders or [dict(MARKET_FOLDERS)]
    )
    if folders:
        _check_cameras(index, root=root)
    return index


def _subsets(root: Path) -> list[str]:
    train = MARKET_FOLDERS[Split.TRAIN]
    if is_folder(root / train):
        return []
    return [folder.name for folder in folders_in(root) if is_folder(folder / train)]


def _check_cameras(records: Iterable[ImageRecord], *, root: Path) -> None:
    subset_of: dict[int, str] = {}
    for record in records:
        subset = record.path.parts[0]
        first = subset_of.setdefault(record.camera, subset)
        if first != subset:
            raise LayoutError(
                f"{root / first} and {root / subset} both have images of camera {record.camera}; "
                "import one of them, or move the other away"
            )
