"""DukeMTMC-reID: `0001_c1_f0000001.jpg` in the folders of Market-1501; withdrawn by its authors.

Only a copy that the user has already is read, and only after its notice was acknowledged. Nothing
here leads to the data set, and nothing else of daam uses it.
"""

from pathlib import Path

from daam.dataset.importing.layouts.folders import read_folders
from daam.dataset.importing.layouts.index import DatasetIndex
from daam.dataset.importing.layouts.names import NameRule

WITHDRAWAL_NOTICE = (
    "DukeMTMC-reID was withdrawn by its authors in 2019 over the privacy of the people in it, so "
    "it should not be used for new work; daam gives no way to get it. To read a copy you have, "
    "knowing this, add --acknowledge-withdrawal"
)
RULE = NameRule(
    pattern=r"(?P<identity>\d{4})_c(?P<camera>\d)_f\d+",
    example="0001_c1_f0000001.jpg",
    meaning="identity, camera, frame",
)


def read_dukemtmc(root: Path) -> DatasetIndex:
    """Index a folder in the layout of DukeMTMC-reID; the caller has shown the notice.

    Raises:
        LayoutError: a folder is missing or empty, or a name fits no rule.
    """
    return read_folders(root, layout="dukemtmc", rule=RULE)
