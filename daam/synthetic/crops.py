"""Rendered people as a detector leaves them: a folder of crops, and nothing says who is on them."""

import hashlib
import shutil
from pathlib import Path

from daam.errors import DataError
from daam.storage.private import make_folder
from daam.storage.scratch import scratch_folder
from daam.synthetic.render import TRAIN

HASH_DIGITS = 6


def write_crops(rendered: Path, *, to: Path) -> int:
    """Copy the train images of a rendered domain under names that do not tell who is on them.

    `0016_c2s1_008793_01.jpg` becomes `cam2_008793_3fa94c.jpg`: camera, frame, part of a hash. The
    truth stays in the names of `rendered`.

    Args:
        rendered: folder that `render_domain` wrote.
        to: new folder.

    Returns:
        How many images there are.

    Raises:
        DataError: `to` exists or cannot be written.
    """
    if to.exists():
        raise DataError(f"{to} exists already; choose another folder or remove it first")
    images = sorted((rendered / TRAIN).iterdir())
    try:
        make_folder(to.parent)
        with scratch_folder(inside=to.parent, prefix=f".{to.name}.partial-") as partial:
            for image in images:
                shutil.copyfile(image, partial / _scrambled(image.name))
            partial.rename(to)
    except OSError as error:
        raise DataError(
            f"{to} can't be written ({error}); choose a folder with space left"
        ) from error
    return len(images)


def _scrambled(name: str) -> str:
    _, camera, frame, _ = name.split("_")
    digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_DIGITS]
    return f"cam{camera[1]}_{frame}_{digest}.jpg"
