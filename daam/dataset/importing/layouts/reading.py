"""The layouts by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from daam.dataset.importing.dataset_index import DatasetIndex, check_index
from daam.dataset.importing.layouts.cuhk03 import read_cuhk03
from daam.dataset.importing.layouts.msmt17 import read_msmt17
from daam.dataset.importing.layouts.randperson import read_randperson
from daam.dataset.importing.layouts.rules import FOLDER_LAYOUTS, read_folders
from daam.dataset.importing.layouts.table import read_table
from daam.errors import LayoutError

READERS: Mapping[str, Callable[[Path], DatasetIndex]] = {
    layout: partial(read_folders, layout=layout, rules=rules)
    for layout, rules in FOLDER_LAYOUTS.items()
} | {
    "msmt17": read_msmt17,
    "cuhk03": read_cuhk03,
    "randperson": read_randperson,
    "csv": partial(read_table, layout="csv"),
    "parquet": partial(read_table, layout="parquet"),
}
LAYOUTS = tuple(READERS)
WITHDRAWAL_NOTICE = (
    "DukeMTMC-reID was withdrawn by its authors in 2019 over the privacy of the people in it, so "
    "it should not be used for new work; daam gives no way to get it. To read a copy you have, "
    "knowing this, add --acknowledge-withdrawal"
)


def read_layout(
    layout: str,
    root: Path,
    *,
    without_val: bool = False,
    acknowledge_withdrawal: bool = False,
) -> DatasetIndex:
    """Index the images of a data set; no image is opened.

    Args:
        layout: one of LAYOUTS.
        root: the data set's folder; for `csv` and `parquet` the table or the folder that holds
            `index.csv` or `index.parquet`.
        without_val: leave the authors' validation list out of the train split of `msmt17`.
        acknowledge_withdrawal: the user has read that `dukemtmc` was withdrawn.

    Raises:
        LayoutError: the layout is unknown or needs an acknowledgement, a folder is missing or
            empty, a name in it matches no rule of the layout, or an argument is for another one.
        DataError: train, or query and gallery together, have one camera only.
    """
    if layout not in LAYOUTS:
        raise LayoutError(f"layout {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    if layout == "dukemtmc" and not acknowledge_withdrawal:
        raise LayoutError(WITHDRAWAL_NOTICE)
    if without_val and layout != "msmt17":
        raise LayoutError(f"--without-val is for the layout msmt17, not {layout}; leave it out")
    if acknowledge_withdrawal and layout != "dukemtmc":
        raise LayoutError(
            f"--acknowledge-withdrawal is for the layout dukemtmc, not {layout}; leave it out"
        )
    read = partial(read_msmt17, with_val=False) if without_val else READERS[layout]
    try:
        index = read(root)
    except LayoutError as error:
        likely = _likely_layout(root)
        if likely in (None, layout):
            raise
        raise LayoutError(f"{error}; the folder looks like --layout {likely}") from error
    return check_index(index)


def _likely_layout(root: Path) -> str | None:
    # A reader fails at the first name that matches no rule, so trying all of them is quick.
    for layout, read in READERS.items():
        try:
            read(root)
        except LayoutError:
            continue
        return layout
    return None
