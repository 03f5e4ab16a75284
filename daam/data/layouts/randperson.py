"""RandPerson (Wang et al., ACM MM 2020): `000000_s00_c00_f000264.jpg`, for training only.

The name tells the identity, the scene, the camera in that scene and the frame. Files lie in one
folder (the subset of the paper's experiments) or in one for each camera, as unpacked. Identities
are numbered through all scenes, from 0; here from 1, so that none is taken for a distractor.
Cameras are numbered anew in each scene, so camera 3 of scene 10 is 1003 here.
"""

from collections.abc import Iterator
from pathlib import Path

from daam.data.layouts.index import (
    DatasetIndex,
    ImageRecord,
    SkippedFile,
    in_order,
    is_image,
)
from daam.data.layouts.names import NameRule
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
    records: dict[str, ImageRecord] = {}
    skipped: list[SkippedFile] = []
    for path in _files(root):
        if not is_image(path):
            skipped.append(SkippedFile(path=path, reason="not an image file"))
        elif any(folder.startswith(DELETED) for folder in path.parent.parts):
            skipped.append(SkippedFile(path=path, reason="sorted out by the authors"))
        else:
            record = _record(path, root=root)
            other = records.setdefault(path.name, record)
            if other is not record:
                raise LayoutError(
                    f"{root / other.path} and {root / path} are one image; --root is the subset "
                    "or the scenes, not both"
                )
    if not records:
        raise LayoutError(f"{root} holds no image named like {RULE.example}; check --root")
    return DatasetIndex(
        layout="randperson",
        root=root,
        records=in_order(records.values()),
        skipped=tuple(sorted(skipped, key=lambda file: file.path)),
    )


def _files(root: Path) -> Iterator[Path]:
    return (path.relative_to(root) for path in root.rglob("*") if path.is_file())


def _record(path: Path, *, root: Path) -> ImageRecord:
    parts = RULE.parts(path, root=root)
    return ImageRecord(
        path=path,
        identity=FIRST_IDENTITY + parts["identity"],
        camera=CAMERAS_PER_SCENE * parts["scene"] + parts["camera"],
        split=Split.TRAIN,
    )
