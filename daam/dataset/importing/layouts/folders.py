"""Three folders, one a split, with names that tell the rest: the plan of Market-1501 and others."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from daam.dataset.importing.layouts.files import image_files
from daam.dataset.importing.layouts.index import DatasetIndex, ImageRecord
from daam.dataset.importing.layouts.names import NameRule
from daam.domains import Split
from daam.errors import LayoutError

MARKET_FOLDERS: Mapping[Split, str] = {
    Split.TRAIN: "bounding_box_train",
    Split.QUERY: "query",
    Split.GALLERY: "bounding_box_test",
}


def read_folders(
    root: Path,
    *,
    layout: str,
    rule: NameRule,
    folders: Iterable[Mapping[Split, str]] = (MARKET_FOLDERS,),
    renumbered: Callable[[int, Split], int] | None = None,
) -> DatasetIndex:
    """Index images in a folder for each split.

    Args:
        root: the data set's folder.
        layout: its name.
        rule: tells `identity` and `camera` of each file; other parts are not used.
        folders: one or more sets of three folders, relative to `root`.
        renumbered: (identity in the name, split) -> identity; none: they stay as they are.

    Raises:
        LayoutError: a folder is missing or empty, a name fits no rule, or a distractor (0) or junk
            (-1) lies outside the gallery.
    """
    index = DatasetIndex(layout=layout, root=root)
    for folder_of in folders:
        for split, folder in folder_of.items():
            for path in image_files(root / folder, index=index):
                parts = rule.parts(path, root=root)
                identity, camera = parts["identity"], parts["camera"]
                if renumbered is not None:
                    identity = renumbered(identity, split)
                if identity < 1 and split != Split.GALLERY:
                    raise LayoutError(
                        f"{root / path} is a distractor (0000) or junk (-1), which belong in "
                        f"{folder_of[Split.GALLERY]} only; move it there or away"
                    )
                index.add(ImageRecord(path=path, identity=identity, camera=camera, split=split))
    return index
