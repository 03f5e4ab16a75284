"""Cut validation people out of the train split, so that tuning never looks at query and gallery."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from daam.data.layouts import DatasetIndex, ImageRecord
from daam.domains import VALIDATION_SPLITS, Split
from daam.errors import DataError

SALT = "daam validation"
LEAST_IDENTITIES = 2


def hold_out_validation(index: DatasetIndex, *, share: float) -> DatasetIndex:
    """Move a share of the train identities, with all their images, to the validation splits.

    Who is moved depends on the identity's number alone (those with the lowest hash go), so that
    adding people later moves few others. At least two are moved and one stays, if there are three.
    A moved identity that two cameras saw becomes validation queries and gallery by
    `split_queries`, others are gallery only.

    Args:
        index: as a layout gives it.
        share: of the train identities, 0 <= share < 1; 0 returns the index as it is.

    Raises:
        DataError: the share is out of range, the index has validation splits already, or no moved
            identity was seen by two cameras.
    """
    if not 0 <= share < 1:
        raise DataError(f"validation share {share} is not in [0, 1); .25 is usual")
    if index.count(*VALIDATION_SPLITS):
        raise DataError(f"{index.root} has validation splits already; hold out only once")
    num_people = index.num_people(Split.TRAIN)
    if share == 0 or not num_people:
        return index

    num_held_out = min(max(LEAST_IDENTITIES, round(share * num_people)), num_people - 1)
    held_out = index.copy()
    for images in index.draw_people(Split.TRAIN, num=num_held_out, salt=SALT):
        for record in split_queries(images):
            held_out.move(record.path, record.split)
    if not held_out.count(Split.VALIDATION_QUERY):
        raise DataError(
            f"none of the {num_held_out} identities held out of {index.root} was seen by two "
            "cameras, so nothing can be validated; give more people, or a larger share of them"
        )
    return held_out


def split_queries(images: Iterable[ImageRecord]) -> Iterator[ImageRecord]:
    """Make one identity's images validation queries and gallery.

    The first image of each camera that has another one becomes a query; if none has, the first
    image of the first camera does. So every query finds this identity in the gallery under
    another camera. An identity seen by one camera is gallery only.
    """
    by_camera: defaultdict[int, list[ImageRecord]] = defaultdict(list)
    for record in images:
        by_camera[record.camera].append(record)
    queries: list[ImageRecord] = []
    if len(by_camera) > 1:
        queries = [records[0] for records in by_camera.values() if len(records) > 1]
        queries = queries or [by_camera[min(by_camera)][0]]
    for records in by_camera.values():
        for record in records:
            split = Split.VALIDATION_QUERY if record in queries else Split.VALIDATION_GALLERY
            yield replace(record, split=split)
