"""Layouts that are a folder per split and a rule for file names. A new one is an entry here.

market1501  Market-1501 (Zheng et al., ICCV 2015) and rendered domains. `bounding_box_test`
            also has distractors (identity 0000) and junk (-1).
veri776     VeRi-776 (Liu et al., ICME 2016): vehicles. The images of `image_query` are in
            `image_test` again: as images of the query's own camera they are junk to it, as in
            the authors' `jk_index.txt`.
personx     PersonX (Sun and Zheng, CVPR 2019): rendered people on six backgrounds, one camera
            each, unpacked as folders `1` to `6`. A person has the same number in all of them,
            so they are read together.
dukemtmc    DukeMTMC-reID, withdrawn by its authors: only a copy that the user already has is
            read, after its notice was acknowledged. Nothing in daam leads to the data set.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daam.dataset.importing.dataset_index import DatasetIndex, IndexBuilder
from daam.dataset.importing.layouts.files import folders_in, images_in
from daam.domains import Split
from daam.errors import LayoutError

# Copies in circulation have some names with the suffix doubled.
SUFFIX = r"(\.(jpg|jpeg|png|bmp)){1,2}"
SPLITS = (Split.TRAIN, Split.QUERY, Split.GALLERY)
MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRule:
    """How a data set names its images.

    Attributes:
        pattern: a regular expression of the name without its suffix; its named groups are numbers.
        example: a name that matches.
        meaning: what its parts are, in their order.
    """

    pattern: str
    example: str
    meaning: str

    def numbers(self, path: str, *, root: Path) -> dict[str, int]:
        """The numbers in a file's name, by the names of the pattern's groups.

        Args:
            path: relative to `root`.
            root: the data set's folder, for the message.

        Raises:
            LayoutError: the name does not match.
        """
        match = re.fullmatch(self.pattern + SUFFIX, path.rpartition("/")[2], re.IGNORECASE)
        if match is None:
            raise LayoutError(
                f"{root / path} is not named like {self.example} ({self.meaning}); rename it or "
                "move it away"
            )
        return {name: int(text) for name, text in match.groupdict().items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderLayout:
    """A folder per split, and what the names of the files in it mean.

    Attributes:
        names: a rule with the groups `identity` and `camera`.
        folders: of train, query and gallery.
        first_identities: added to the identities of train, query and gallery, but not to junk.
        in_subsets: whether the folders may lie in subfolders, each with cameras of its own.
    """

    names: NameRule
    folders: tuple[str, str, str] = MARKET_FOLDERS
    first_identities: tuple[int, int, int] = (0, 0, 0)
    in_subsets: bool = False


FOLDER_LAYOUTS: Mapping[str, FolderLayout] = {
    "market1501": FolderLayout(
        names=NameRule(
            pattern=r"(?P<identity>-1|\d{4,})_c(?P<camera>\d+)s\d+_\d+_\d+",
            example="0002_c1s1_000451_03.jpg",
            meaning="identity, camera and sequence, frame, box",
        )
    ),
    "veri776": FolderLayout(
        names=NameRule(
            pattern=r"(?P<identity>\d{4})_c(?P<camera>\d{3})_\d{8}_\d+",
            example="0002_c002_00030600_0.jpg",
            meaning="vehicle, camera, time, box",
        ),
        folders=("image_train", "image_query", "image_test"),
    ),
    "personx": FolderLayout(
        names=NameRule(
            pattern=r"(?P<identity>\d{4})_c(?P<camera>\d+)s\d+_\d{1,2}",
            example="0001_c1s1_33.jpg",
            meaning="identity, camera and a constant, viewpoint",
        ),
        in_subsets=True,
    ),
    "dukemtmc": FolderLayout(
        names=NameRule(
            pattern=r"(?P<identity>\d{4})_c(?P<camera>\d)_f\d+",
            example="0001_c1_f0000001.jpg",
            meaning="identity, camera, frame",
        )
    ),
}


def read_folders(root: Path, *, layout: str, rules: FolderLayout) -> DatasetIndex:
    """Index the images in a folder per split.

    The train folder, or both others, may be missing.

    Args:
        root: the data set's folder.
        layout: its name.
        rules: where images lie, and what their names mean.

    Raises:
        LayoutError: a folder is missing or empty, a name matches no rule, a distractor (0) or junk
            (-1) lies outside the gallery, or two subsets have images of one camera.
    """
    index = IndexBuilder(layout=layout, root=root)
    subset_of: dict[int, str] = {}
    for subset in _subsets(root, rules=rules):
        of_splits = zip(SPLITS, rules.folders, rules.first_identities, strict=True)
        is_there = [os.path.isdir(root / f"{subset}{folder}") for folder in rules.folders]
        for split, folder, first_identity in of_splits:
            if is_there in ([True, False, False], [False, True, True]) and (
                not os.path.lexists(root / f"{subset}{folder}")
            ):
                continue
            for path in images_in(f"{subset}{folder}", index=index):
                numbers = rules.names.numbers(path, root=root)
                identity, camera = numbers["identity"], numbers["camera"]
                if identity >= 0:
                    identity += first_identity
                if identity < 1 and split != Split.GALLERY:
                    raise LayoutError(
                        f"{root / path} is a distractor (0000) or junk (-1), which belong in "
                        f"{subset}{rules.folders[-1]} only; move it there or away"
                    )
                if (first := subset_of.setdefault(camera, subset)) != subset:
                    raise LayoutError(
                        f"{root / first} and {root / subset} both have images of camera {camera}; "
                        "import one of them, or move the other away"
                    )
                index.add(path, identity=identity, camera=camera, split=split)
    return index.build()


def _subsets(root: Path, *, rules: FolderLayout) -> list[str]:
    """What to put before the folders: nothing, or each subfolder that has them."""
    train = rules.folders[0]
    if not rules.in_subsets or os.path.isdir(root / train):
        return [""]
    found = [f"{path.name}/" for path in folders_in(root) if os.path.isdir(path / train)]
    return found or [""]
