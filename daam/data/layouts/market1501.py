"""Market-1501 (Zheng et al., ICCV 2015): `0002_c1s1_000451_03.jpg` in three folders.

The name tells the identity, the camera, the recording (sequence and frame) and the number of the
box in that frame. `bounding_box_test` also has distractors (identity 0000) and junk (-1).
"""

import re
from pathlib import Path

from daam.data.layouts.index import (
    DatasetIndex,
    ImageRecord,
    SkippedFile,
    image_files,
    in_order,
)
from daam.domains import Split
from daam.errors import LayoutError

FOLDERS = {
    Split.TRAIN: "bounding_box_train",
    Split.QUERY: "query",
    Split.GALLERY: "bounding_box_test",
}
# Copies in circulation have some names with the suffix doubled.
NAME = re.compile(
    r"(?P<identity>-1|\d{4,})_c(?P<camera>\d+)s\d+_\d+_\d+(\.(jpg|jpeg|png|bmp)){1,2}",
    re.IGNORECASE,
)


def read_market1501(root: Path) -> DatasetIndex:
    """Index a folder in the layout of Market-1501, the renderer's domains included.

    Raises:
        LayoutError: a folder is missing or empty, a name fits no rule, or a distractor or junk
            image lies outside `bounding_box_test`.
    """
    records: list[ImageRecord] = []
    skipped: list[SkippedFile] = []
    for split, folder in FOLDERS.items():
        images, others = image_files(root / folder, root=root)
        records += [_record(path, split=split, root=root) for path in images]
        skipped += others
    return DatasetIndex(
        layout="market1501", root=root, records=in_order(records), skipped=tuple(skipped)
    )


def _record(path: Path, *, split: Split, root: Path) -> ImageRecord:
    match = NAME.fullmatch(path.name)
    if match is None:
        raise LayoutError(
            f"{root / path} is not named like 0002_c1s1_000451_03.jpg "
            "(identity, camera and sequence, frame, box); rename it or move it away"
        )
    identity = int(match["identity"])
    if identity < 1 and split != Split.GALLERY:
        raise LayoutError(
            f"{root / path} is a distractor (0000) or junk (-1), which belong in "
            f"{FOLDERS[Split.GALLERY]} only; move it there or away"
        )
    return ImageRecord(path=path, identity=identity, camera=int(match["camera"]), split=split)
