"""Market-1501 (Zheng et al., ICCV 2015): `0002_c1s1_000451_03.jpg` in three folders.

The name tells the identity, the camera, the recording (sequence and frame) and the number of the
box in that frame. `bounding_box_test` also has distractors (identity 0000) and junk (-1).
"""

from pathlib import Path

from daam.dataset.importing.layouts.folders import read_folders
from daam.dataset.importing.layouts.index import DatasetIndex
from daam.dataset.importing.layouts.names import NameRule

RULE = NameRule(
    pattern=r"(?P<identity>-1|\d{4,})_c(?P<camera>\d+)s\d+_\d+_\d+",
    example="0002_c1s1_000451_03.jpg",
    meaning="identity, camera and sequence, frame, box",
)


def read_market1501(root: Path) -> DatasetIndex:
    """Index a folder in the layout of Market-1501, the renderer's domains included.

    Raises:
        LayoutError: a folder is missing or empty, a name fits no rule, or a distractor or junk
            image lies outside `bounding_box_test`.
    """
    return read_folders(root, layout="market1501", rule=RULE)
