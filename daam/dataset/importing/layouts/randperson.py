"""RandPerson (Wang et al., ACM MM 2020): `000000_s00_c00_f000264.jpg`, for training only.

The name tells the identity, the scene, the camera in that scene and the frame. Files lie in one
folder (the subset of the paper's experiments) or in one for each camera, as unpacked. Identities
are numbered through all scenes, from 0; here from 1, so that none is taken for a distractor.
Cameras are numbered anew in each scene, so camera 3 of scene 10 is 1003 here.
"""

from pathlib import Path

from daam.dataset.importing.layouts.files import files_below, is_image
from daam.dataset.importing.layouts.index import DatasetIndex, ImageRecord
from daam.dataset.importing.layouts.names import NameRule
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
        LayoutError: there is no image, a name fits no rule, or a name is there twice, as when the
            scenes lie beside the subset that was taken from them.
    """
    index = DatasetIndex(layout="randperson", root=root)
    for path in files_below(root, index=index):
        if not is_image(path):
            index.skip(path, "not an image file")
        elif any(folder.startswith(DELETED) for folder in path.parent.parts):
            index.skip(path, "sorted out by the authors")
        else:
            index.add(_record(path, root=root))
    if not len(index):
        raise LayoutError(f"{root} holds no image named like {RULE.example}; check --root")
    if (namesakes := index.namesakes()) is not None:
        one, other = namesakes
        raise LayoutError(
            f"{root / one} and {root / other} are one image; --root is the subset or the scenes, "
            "not both"
        )
    return index


def _record(path: Path, *, root: Path) -> ImageRecord:
    parts = RULE.parts(path, root=root)
    return ImageRecord(
        path=path,
        identity=FIRST_IDENTITY + parts["identity"],
        camera=CAMERAS_PER_SCENE * parts["scene"] + parts["camera"],
        split=Split.TRAIN,
    )
