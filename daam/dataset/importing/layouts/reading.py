"""The layouts by name."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from daam.dataset.importing.dataset_index import DatasetIndex, check_index
from daam.dataset.importing.layouts.cuhk03 import read_cuhk03
from daam.dataset.importing.layouts.folder import read_folder
from daam.dataset.importing.layouts.msmt17 import read_msmt17
from daam.dataset.importing.layouts.randperson import read_randperson
from daam.dataset.importing.layouts.rules import FOLDER_LAYOUTS, read_folders
from daam.dataset.importing.layouts.table import read_table
from daam.errors import DataError, LayoutError

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
FOLDER = "folder"
LAYOUTS = (FOLDER, *READERS)
WITHDRAWAL_NOTICE = (
    "DukeMTMC-reID was withdrawn by its authors in 2019 over the privacy of the people in it, so "
    "it should not be used for new work; daam gives no way to get it. To read a copy you have, "
    "knowing this, add --acknowledge-withdrawal"
)


def read_layout(
    layout: str,
    root: Path,
    *,
    pattern: str | None = None,
    camera: Literal["folder"] | None = None,
    identity: Literal["folder"] | None = None,
    without_val: bool = False,
    acknowledge_withdrawal: bool = False,
) -> DatasetIndex:
    """Index the images of a data set; no image is opened.

    Args:
        layout: one of LAYOUTS.
        root: the data set's folder; for `csv` and `parquet` the table or the folder that holds
            `index.csv` or `index.parquet`.
        pattern, camera, identity: of the layout `folder`, see `read_folder`.
        without_val: leave the authors' validation list out of the train split of `msmt17`.
        acknowledge_withdrawal: the user has read that `dukemtmc` was withdrawn.

    Raises:
        LayoutError: the layout is unknown or needs an acknowledgement, a folder is missing or
            empty, a name in it matches no rule of the layout, or an argument is for another one.
        DataError: something is known of some images of a split only, or identities of query or
            gallery are unknown.
    """
    if layout not in LAYOUTS:
        raise LayoutError(f"layout {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    if (scheme := re.match(r"(\w+):/", str(root))) is not None and not os.path.exists(root):
        raise LayoutError(
            f"an import reads a folder of this machine, not {scheme[1]}://; copy the images first"
        )
    if layout == "dukemtmc" and not acknowledge_withdrawal:
        raise LayoutError(WITHDRAWAL_NOTICE)
    only_for = {
        "pattern": (FOLDER, pattern is not None),
        "camera": (FOLDER, camera is not None),
        "identity": (FOLDER, identity is not None),
        "without-val": ("msmt17", without_val),
        "acknowledge-withdrawal": ("dukemtmc", acknowledge_withdrawal),
    }
    for option, (of_layout, is_given) in only_for.items():
        if is_given and layout != of_layout:
            raise LayoutError(
                f"--{option} is for the layout {of_layout}, not {layout}; leave it out"
            )
    if layout == FOLDER:
        index = read_folder(root, pattern=pattern, camera=camera, identity=identity)
        return check_index(_with_hint(index, root=root))
    read = partial(read_msmt17, with_val=False) if without_val else READERS[layout]
    try:
        index = read(root)
    except LayoutError as error:
        likely = _likely_layout(root)
        if likely in (None, layout):
            raise
        raise LayoutError(f"{error}; the folder looks like --layout {likely}") from error
    return check_index(index)


def _with_hint(index: DatasetIndex, *, root: Path) -> DatasetIndex:
    """Note that the folder has a layout that says more, if it has."""
    if (likely := _likely_layout(root)) is None:
        return index
    note = f"the folder looks like --layout {likely}, which may know more about the images"
    return replace(index, notes=(*index.notes, note))


def _likely_layout(root: Path) -> str | None:
    # A reader fails at the first name that matches no rule, so trying all of them is quick.
    for layout, read in READERS.items():
        try:
            read(root)
        except DataError:
            continue
        return layout
    return None
