"""RandPerson (Wang et al., ACM MM 2020): `000000_s00_c00_f000264.jpg`, for training only.

A name has the identity, the scene, the camera in that scene and the frame. Files lie in one folder
(the subset of the paper's experiments) or in one per camera, as unpacked. Identities are numbered
through all scenes, from 0; here from 1, so that none is taken for a distractor. Cameras are
numbered from 0 in each scene, so camera 3 of scene 10 is 1003 here.
"""

from pathlib import Path

import pyarrow as pa

from daam.dataset.importing.dataset_index import DatasetIndex, IndexBuilder, first_repeated
from daam.dataset.importing.layouts.files import files_below, is_image
from daam.dataset.importing.layouts.rules import NameRule
from daam.domains import Split
from daam.errors import LayoutError

RULE = NameRule(
    pattern=r"(?P<identity>\d{6})_s(?P<scene>\d{2})_c(?P<camera>\d{2})_f\d{6,}",
    example="000000_s00_c00_f000264.jpg",
    meaning="identity, scene, camera, frame",
)
CAMERAS_PER_SCENE = 100
FIRST_IDENTITY = 1
# Beside the images of each camera are those that the authors sorted out.
DELETED = "delete_"


def read_randperson(root: Path) -> DatasetIndex:
    """Index all images below a folder in the naming of RandPerson.

    Raises:
        LayoutError: there is no image, a name does not match, or occurs twice, as when the scenes
            lie beside the subset that was taken from them.
    """
    builder = IndexBuilder(layout="randperson", root=root)
    for path in files_below("", index=builder):
        if not is_image(path):
            builder.skip(path, "not an image file")
        elif any(folder.startswith(DELETED) for folder in path.split("/")[:-1]):
            builder.skip(path, "sorted out by the authors")
        else:
            numbers = RULE.numbers(path, root=root)
            builder.add(
                path,
                identity=FIRST_IDENTITY + numbers["identity"],
                camera=CAMERAS_PER_SCENE * numbers["scene"] + numbers["camera"],
                split=Split.TRAIN,
            )
    index = builder.build()
    if not index.splits:
        raise LayoutError(f"{root} holds no image named like {RULE.example}; check --root")
    _check_names(index)
    return index


def _check_names(index: DatasetIndex) -> None:
    paths = index.splits[Split.TRAIN]["path"]
    names = pa.array((path.as_py().rpartition("/")[2] for path in paths), pa.large_string())
    by_name = pa.table({"name": names, "path": paths}).sort_by(
        [("name", "ascending"), ("path", "ascending")]
    )
    if (repeated := first_repeated(by_name["name"])) is not None:
        one, other = by_name["path"].slice(repeated - 1, 2).to_pylist()
        raise LayoutError(
            f"{index.root / one} and {index.root / other} are one image; --root is the subset or "
            "the scenes, not both"
        )
