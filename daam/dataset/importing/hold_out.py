"""Cut validation people out of the train split, so that tuning never looks at query and gallery."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

from daam.dataset.importing.layouts import DatasetIndex, Sighting
from daam.dataset.importing.temporary import full_disk_told, temporary_tables
from daam.domains import VALIDATION_SPLITS, Split
from daam.errors import DataError

SALT = "daam validation"
LEAST_IDENTITIES = 2


def hold_out_validation(index: DatasetIndex, *, share: float) -> DatasetIndex:
    """Move a share of the train identities, with all their images, to the validation splits.

    Who is moved depends on the identity's number alone (those with the lowest hash go), so that
    adding people later moves few others. At least two are moved and one stays, if there are three.
    A moved identity that two cameras saw becomes validation queries and gallery by
    `queries_of`, others are gallery only.

    Args:
        index: as a layout gives it.
        share: of the train identities, 0 <= share < 1; 0 returns the index as it is.

    Raises:
        DataError: the share is out of range, the index has validation splits already, or no moved
            identity was seen by two cameras.
        StorageError: the disk does not take the lists of files and people.
    """
    if not 0 <= share < 1:
        raise DataError(f"validation share {share} is not in [0, 1); .25 is usual")
    if index.count(*VALIDATION_SPLITS):
        raise DataError(f"{index.root} has validation splits already; hold out only once")
    num_people = sum(1 for _ in index.people(Split.TRAIN))
    if share == 0 or not num_people:
        return index

    num_held_out = min(max(LEAST_IDENTITIES, round(share * num_people)), num_people - 1)
    last = _last_hash(index.people(Split.TRAIN), num=num_held_out)
    held_out = index.copy()
    moved = (person for person in index.people(Split.TRAIN) if _hash(person) <= last)
    held_out.move_people(moved, split=Split.TRAIN, to=Split.VALIDATION_GALLERY)
    for identity, sightings in groupby(index.sightings(Split.TRAIN), key=lambda one: one.identity):
        if _hash(identity) <= last:
            for path in queries_of(list(sightings)):
                held_out.move(path, Split.VALIDATION_QUERY)
    if not held_out.count(Split.VALIDATION_QUERY):
        raise DataError(
            f"none of the {num_held_out} identities held out of {index.root} was seen by two "
            "cameras, so nothing can be validated; give more people, or a larger share of them"
        )
    return held_out


def queries_of(sightings: Sequence[Sighting]) -> list[Path]:
    """Choose which images of a person become validation queries.

    The first image of each camera that has another one does; if none has, the first image of the
    first camera. So every query finds this person in the gallery under another camera. A person
    seen by one camera has none.

    Args:
        sightings: of one person, by camera.
    """
    if len(sightings) < 2:
        return []
    repeated = [sighting.first for sighting in sightings if sighting.num_images > 1]
    return repeated or [sightings[0].first]


def _last_hash(people: Iterable[int], *, num: int) -> bytes:
    """The largest of the `num` smallest hashes."""
    if not num:
        return b""
    with (
        full_disk_told("the people of the train split"),
        closing(temporary_tables("CREATE TABLE people (hash BLOB)")) as tables,
    ):
        hashes = ((_hash(identity),) for identity in people)
        tables.executemany("INSERT INTO people VALUES (?)", hashes)
        select = "SELECT hash FROM people ORDER BY hash LIMIT 1 OFFSET ?"
        (last,) = tables.execute(select, (num - 1,)).fetchone()
    return last


def _hash(identity: int) -> bytes:
    return hashlib.sha256(f"{SALT} {identity}".encode()).digest()
