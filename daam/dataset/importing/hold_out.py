"""Move people out of the train split: for validation, or as query and gallery."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa

from daam.dataset.format.shards import numbers
from daam.dataset.importing.dataset_index import DatasetIndex
from daam.domains import VALIDATION_SPLITS, Split
from daam.errors import DataError

VALIDATION_SALT, TEST_SALT = "daam validation", "daam test"
MIN_IDENTITIES = 2


def cut_test_splits(index: DatasetIndex, *, share: float) -> DatasetIndex:
    """Make query and gallery of a share of the train identities, for a data set that has neither.

    They are chosen, and their images divided, as in `hold_out_validation`, by another hash.

    Args:
        index: from a layout.
        share: of the train identities, 0 <= share < 1; 0 returns the index as it is.

    Raises:
        DataError: the share is out of range, the index has a query or gallery split, or does not
            know who is in its images, or none of the people chosen can be a query.
    """
    if not 0 <= share < 1:
        raise DataError(f"share {share} of the test set is not in [0, 1); .3 is usual")
    if share == 0:
        return index
    if Split.QUERY in index.splits:
        raise DataError(f"{index.root} has query and gallery already; import it without --cut-test")
    if index.splits[Split.TRAIN]["identity"].null_count:
        raise DataError(
            f"--cut-test moves whole people to query and gallery, but nothing says who is in the "
            f"images of {index.root}; give their identities, or leave it out"
        )
    if (problem := _nobody_to_query(index)) is not None:
        raise DataError(f"{problem}, so nothing can be tested; leave --cut-test out")
    cut = _move_people(
        index,
        share=share,
        salt=TEST_SALT,
        to=(Split.QUERY, Split.GALLERY),
        aim="tested",
        option="--cut-test",
    )
    return replace(cut, cut_test=float(share))


def hold_out_validation(index: DatasetIndex, *, share: float) -> DatasetIndex:
    """Move a share of the train identities, with all their images, to the validation splits.

    Who is moved depends on a hash of the identity's number alone, or of its name if it has one, so
    that adding people later moves few others. At least two are moved and one stays, if there are
    three. The first image of each camera that has another image of the person becomes a validation
    query; if none has, the first image of the first camera. So every query has a match in the
    gallery under another camera. Everything else, and people seen by one camera, is gallery. Where
    cameras are unknown, the first image of each person who has another becomes a query.

    Args:
        index: from a layout.
        share: of the train identities, 0 <= share < 1; 0 returns the index as it is. So do
            identities that are unknown or never seen by two cameras, and this adds a note.

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
    if index.splits[Split.TRAIN]["identity"].null_count:
        return _with_note(index, "people of train are unknown, so none are held out for validation")
    if (problem := _nobody_to_query(index)) is not None:
        return _with_note(index, f"{problem}, so none are held out for validation")
    return _move_people(
        index,
        share=share,
        salt=VALIDATION_SALT,
        to=VALIDATION_SPLITS,
        aim="validated",
        option="--validation-share",
    )


def _with_note(index: DatasetIndex, note: str) -> DatasetIndex:
    return replace(index, notes=(*index.notes, note))


def _nobody_to_query(index: DatasetIndex) -> str | None:
    identities, cameras = _people(index.splits[Split.TRAIN])
    if len(_queries(identities, cameras)):
        return None
    return f"nobody in train {'has two images' if cameras is None else 'was seen by two cameras'}"


def _move_people(
    index: DatasetIndex, *, share: float, salt: str, to: tuple[Split, Split], aim: str, option: str
) -> DatasetIndex:
    train = index.splits[Split.TRAIN]
    identities, cameras = _people(train)
    people = sorted(
        np.unique(identities).tolist(),
        key=lambda identity: _hash(identity, names=index.identity_names, salt=salt),
    )
    num_moved = min(max(MIN_IDENTITIES, round(share * len(people))), len(people) - 1)
    is_moved = np.isin(identities, people[:num_moved])
    rows = np.flatnonzero(is_moved)
    queries = rows[_queries(identities[rows], None if cameras is None else cameras[rows])]
    if not len(queries):
        seen_twice = "has two images" if cameras is None else "was seen by two cameras"
        raise DataError(
            f"none of the {num_moved} identities held out of {index.root} {seen_twice}, so "
            f"nothing can be {aim}; give more people, a larger {option}, or {option} 0 to move none"
        )
    is_query = np.zeros_like(is_moved)
    is_query[queries] = True
    query, gallery = to
    splits = {
        **index.splits,
        Split.TRAIN: train.filter(pa.array(~is_moved)),
        query: train.filter(pa.array(is_query)),
        gallery: train.filter(pa.array(is_moved & ~is_query)),
    }
    return replace(index, splits={split: splits[split] for split in Split if split in splits})


def _people(images: pa.Table) -> tuple[np.ndarray, np.ndarray | None]:
    cameras = None if images["camera"].null_count else numbers(images["camera"])
    return numbers(images["identity"]), cameras


def _queries(identities: np.ndarray, cameras: np.ndarray | None) -> np.ndarray:
    """The rows that become queries, of rows sorted by path."""
    if cameras is None:
        _, first, num_images = np.unique(identities, return_index=True, return_counts=True)
        return first[num_images > 1]
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
    return np.array(queries, np.int64)


def _hash(identity: int, *, names: Mapping[int, str], salt: str) -> bytes:
    return hashlib.sha256(f"{salt} {names.get(identity, identity)}".encode()).digest()
