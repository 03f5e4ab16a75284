"""Which layouts there are."""

from pathlib import Path

from daam.data.layouts.csv import read_csv
from daam.data.layouts.index import DatasetIndex, check_index
from daam.data.layouts.market1501 import read_market1501
from daam.data.layouts.msmt17 import read_msmt17
from daam.errors import LayoutError

LAYOUTS = ("market1501", "msmt17", "csv")


def read_layout(layout: str, root: Path) -> DatasetIndex:
    """Index the images of a data set; no image is opened.

    Args:
        layout: one of LAYOUTS.
        root: the data set's folder; for `csv` the table or the folder that holds `index.csv`.

    Raises:
        LayoutError: the layout is unknown, a folder is missing or empty, or a name in it fits no
            rule of the layout.
        DataError: train, or query and gallery together, have one camera only.
    """
    match layout:
        case "market1501":
            index = read_market1501(root)
        case "msmt17":
            index = read_msmt17(root)
        case "csv":
            index = read_csv(root)
        case _:
            raise LayoutError(f"layout {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    return check_index(index)
