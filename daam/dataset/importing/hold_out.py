"""Cut validation people out of the train split, so that tuning never sees query and gallery."""

import hashlib
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa

from daam.dataset.format.shards import numbers
from daam.dataset.importing.dataset_index import DatasetIndex
from daam.domains import VALIDATION_SPLITS, Split
from daam.errors import DataError

SALT = "daam validation"
MIN_IDENTITIES = 2


def hold_out_validation(index: DatasetIndex, *, share: float) -> DatasetIndex:
    """Move a share of the train identities, with all their images, to the validation splits.

    Who is moved depends on a hash of the identity's number alone, so that adding people later
    moves few others. At least two are moved and one stays, if there are three. The first image of
    each camera that has another image of the person becomes a validation query; if none has, the
    first image of the first camera. So every query has a match in the gallery under another
    camera. Everything else, and people seen by one camera, is gallery. Where cameras are unknown,
    the first image of each person who has another becomes a query.

    Args:
        index: from a layout.
        share: of the train identities, 0 <= share < 1; 0 returns the index as it is, as do unknown
            identities.

    Raises:
        DataError: the share is out of range, the index has validation splits already, or no moved
            identity was seen by two cameras.
    """
    if not 0 <= share < 1:
        raise DataError(f"validation share {share} is not in [0, 1); .25 is usual")
    if any(split in index.splits for split in VALIDATION_SPLITS):
        raise DataError(f"{index.root} has validation splits already; hold out only once")
    if share == 0 or Split.TRAIN not in index.splits:
        return index

    train = index.splits[Split.TRAIN]
    if train["identity"].null_count:
        return index
    identities = numbers(train["identity"])
    cameras = None if train["camera"].null_count else numbers(train["camera"])
    people = sorted(np.unique(identities).tolist(), key=_hash)
    num_held_out = min(max(MIN_IDENTITIES, round(share * len(people))), len(people) - 1)
    is_held_out = np.isin(identities, people[:num_held_out])
    rows = np.flatnonzero(is_held_out)
    if cameras is None:
        _, first, num_images = np.unique(identities[rows], return_index=True, return_counts=True)
        queries = rows[first[num_images > 1]]
    else:
        queries = rows[_queries(identities[rows], cameras[rows])]
    if not len(queries):
        seen_twice = "has two images" if cameras is None else "was seen by two cameras"
        raise DataError(
            f"none of the {num_held_out} identities held out of {index.root} {seen_twice}, so "
            "nothing can be validated; give more people, or a larger share of them"
        )
    is_query = np.zeros_like(is_held_out)
    is_query[queries] = True
    splits = {
        **index.splits,
        Split.TRAIN: train.filter(pa.array(~is_held_out)),
        Split.VALIDATION_QUERY: train.filter(pa.array(is_query)),
        Split.VALIDATION_GALLERY: train.filter(pa.array(is_held_out & ~is_query)),
    }
    return replace(index, splits={split: splits[split] for split in Split if split in splits})


def _queries(identities: np.ndarray, cameras: np.ndarray) -> list[int]:
    """The rows that become queries, of rows sorted by path."""
    pairs, first, counts = np.unique(
        np.column_stack([identities, cameras]), axis=0, return_index=True, return_counts=True
    )
    sightings = zip(pairs[:, 0].tolist(), first.tolist(), counts.tolist(), strict=True)
    queries: list[int] = []
    for _, person in groupby(sightings, key=itemgetter(0)):
        of_cameras = list(person)
        if len(of_cameras) > 1:
            repeated = [row for _, row, num_images in of_cameras if num_images > 1]
            queries += repeated or [of_cameras[0][1]]
    return queries


def _hash(identity: int) -> bytes:
    return hashlib.sha256(f"{SALT} {identity}".encode()).digest()
