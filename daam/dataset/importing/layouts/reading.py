"""Which layouts there are."""

from pathlib import Path

from daam.dataset.importing.layouts.cuhk03 import read_cuhk03
from daam.dataset.importing.layouts.dukemtmc import WITHDRAWAL_NOTICE, read_dukemtmc
from daam.dataset.importing.layouts.index import DatasetIndex, check_index
from daam.dataset.importing.layouts.market1501 import read_market1501
from daam.dataset.importing.layouts.msmt17 import read_msmt17
from daam.dataset.importing.layouts.personx import read_personx
from daam.dataset.importing.layouts.randperson import read_randperson
from daam.dataset.importing.layouts.table import read_csv, read_parquet
from daam.dataset.importing.layouts.veri776 import read_veri776
from daam.errors import LayoutError

LAYOUTS = (
    "market1501",
    "msmt17",
    "cuhk03",
    "veri776",
    "randperson",
    "personx",
    "dukemtmc",
    "csv",
    "parquet",
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
            empty, a name in it fits no rule of the layout, or an argument is not for the layout.
        DataError: train, or query and gallery together, have one camera only.
        StorageError: the disk does not take the list of files.
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
    try:
        index = _read(layout, root, with_val=not without_val)
    except LayoutError as error:
        likely = _likely_layout(root)
        if likely in (None, layout):
            raise
        raise LayoutError(f"{error}; the folder looks like --layout {likely}") from error
    return check_index(index)


def _read(layout: str, root: Path, *, with_val: bool = True) -> DatasetIndex:
    match layout:
        case "market1501":
            return read_market1501(root)
        case "msmt17":
            return read_msmt17(root, with_val=with_val)
        case "cuhk03":
            return read_cuhk03(root)
        case "veri776":
            return read_veri776(root)
        case "randperson":
            return read_randperson(root)
        case "personx":
            return read_personx(root)
        case "dukemtmc":
            return read_dukemtmc(root)
        case "csv":
            return read_csv(root)
        case _:
            return read_parquet(root)


def _likely_layout(root: Path) -> str | None:
    # A reader refuses at the first name that fits no rule, so that all of them are soon tried.
    for layout in LAYOUTS:
        try:
            _read(layout, root)
        except LayoutError:
            continue
        return layout
    return None
