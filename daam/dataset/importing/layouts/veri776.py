"""VeRi-776 (Liu et al., ICME 2016): vehicles, `0002_c002_00030600_0.jpg` in three folders.

The name tells the vehicle, the camera (1 to 20), the time and the number of the box. The images
of `image_query` are in `image_test` once more: as images of the query's own camera they are junk
to it, as the authors' `jk_index.txt` has it.
"""

from pathlib import Path

from daam.dataset.importing.layouts.folders import read_folders
from daam.dataset.importing.layouts.index import DatasetIndex
from daam.dataset.importing.layouts.names import NameRule
from daam.domains import Split

FOLDERS = {
    Split.TRAIN: "image_train",
    Split.QUERY: "image_query",
    Split.GALLERY: "image_test",
}
RULE = NameRule(
    pattern=r"(?P<identity>\d{4})_c(?P<camera>\d{3})_\d{8}_\d+",
    example="0002_c002_00030600_0.jpg",
    meaning="vehicle, camera, time, box",
)


def read_veri776(root: Path) -> DatasetIndex:
    """Index a folder in the layout of VeRi-776.

    Raises:
        LayoutError: a folder is missing or empty, or a name fits no rule.
    """
    return read_folders(root, layout="veri776", rule=RULE, folders=(FOLDERS,))
