"""What is odd about a data set and known at its import, before anything is trained on it."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from daam.dataset.format.shards import numbers
from daam.dataset.importing.dataset_index import DatasetIndex
from daam.domains import DISTRACTOR, Split

NUM_NAMED = 3
# With fewer images per number than these, it is rather a counter than a camera or a track.
IMAGES_PER_CAMERA, IMAGES_PER_TRACK = 4, 1.5
IMAGES_PER_PERSON = 1.5
MIN_IMAGES = 10  # from which on that is odd


def findings(index: DatasetIndex) -> tuple[str, ...]:
    """One line for each thing that a user should look at, the notes of the layout first."""
    return (*index.notes, *_odd_counts(index), *_odd_tracks(index), *_odd_tests(index))


def _odd_counts(index: DatasetIndex) -> Iterator[str]:
    train = index.splits.get(Split.TRAIN)
    if train is None:
        return
    for name, fewest in (("camera", IMAGES_PER_CAMERA), ("track", IMAGES_PER_TRACK)):
        values = _known(train, name)
        num_values = 0 if values is None else len(np.unique(values))
        if values is not None and MIN_IMAGES <= len(values) < fewest * num_values:
            yield (
                f"train: {len(values):,} images have {num_values:,} {name}s; is that number a "
                "counter of images?"
            )
    cameras, identities = _known(train, "camera"), _known(train, "identity")
    if cameras is None and identities is None:
        yield (
            "neither people nor cameras of train are known: choosing settings without labels then "
            "gains nothing; if paths name cameras, say where (--pattern)"
        )
    if cameras is not None and len(np.unique(cameras)) == 1:
        yield (
            f"all train images are of one camera, {_camera(index, int(cameras[0]))}: enough to "
            "train and embed, but nobody can be matched across cameras"
        )
    if identities is not None and len(np.unique(identities)) == 1:
        yield "all train images show one person: a target can be that, but not a source"
    elif identities is not None and len(identities) < IMAGES_PER_PERSON * len(
        np.unique(identities)
    ):
        yield (
            f"train: {len(identities):,} images show {len(np.unique(identities)):,} people; few "
            "have two images, so little can be learnt from their labels"
        )


def _odd_tracks(index: DatasetIndex) -> Iterator[str]:
    for split, images in index.splits.items():
        tracks, identities = _known(images, "track"), _known(images, "identity")
        if tracks is None or identities is None:
            continue
        pairs, rows = np.unique(np.column_stack([tracks, identities]), axis=0, return_index=True)
        of_track, counts = np.unique(pairs[:, 0], return_counts=True)
        mixed = np.isin(pairs[:, 0], of_track[counts > 1])
        if mixed.any():
            yield (
                f"{split}: of {len(counts):,} tracks {int((counts > 1).sum()):,} have images of "
                f"more than one person ({_paths(images, rows[mixed])}): either is wrong"
            )


def _odd_tests(index: DatasetIndex) -> Iterator[str]:
    if Split.QUERY not in index.splits:
        return
    query, gallery = index.splits[Split.QUERY], index.splits[Split.GALLERY]
    has_match = _has_match(query, gallery)
    if not has_match.all():
        known = _known(query, "camera") is not None and _known(gallery, "camera") is not None
        where = "the gallery under another camera" if known else "the gallery"
        missing = np.flatnonzero(~has_match)
        if len(missing) == len(has_match):
            yield f"no query has its person in {where}, so nothing can be scored with them"
        else:
            yield (
                f"{len(missing):,} of {len(has_match):,} queries do not have their person in "
                f"{where} ({_paths(query, missing)}); scores leave them out"
            )
    train = index.splits.get(Split.TRAIN)
    identities = None if train is None else _known(train, "identity")
    if identities is not None:
        tested = np.concatenate([numbers(query["identity"]), numbers(gallery["identity"])])
        both = np.intersect1d(identities, tested[tested > DISTRACTOR])
        if len(both):
            shown = ", ".join(
                index.identity_names.get(identity, str(identity))
                for identity in both[:NUM_NAMED].tolist()
            )
            yield (
                f"people in train and in query or gallery: {len(both):,} "
                f"({shown}{', …' if len(both) > NUM_NAMED else ''}); a model that learns from this "
                "train split has seen them when it is scored"
            )


def _has_match(query: pa.Table, gallery: pa.Table) -> np.ndarray:
    """Of each query, whether the gallery shows its person, under another camera if known."""
    people, of_gallery = numbers(query["identity"]), numbers(gallery["identity"])
    cameras, gallery_cameras = _known(query, "camera"), _known(gallery, "camera")
    if cameras is None or gallery_cameras is None:
        return np.isin(people, of_gallery)
    pairs = np.unique(np.column_stack([of_gallery, gallery_cameras]), axis=0)
    seen, first, num_cameras = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    if not len(seen):
        return np.zeros(len(people), bool)
    place = np.searchsorted(seen, people).clip(max=len(seen) - 1)
    only_own = (num_cameras[place] == 1) & (pairs[first[place], 1] == cameras)
    return (seen[place] == people) & ~only_own


def _known(images: pa.Table, name: str) -> np.ndarray | None:
    return None if images[name].null_count or not len(images) else numbers(images[name])


def _camera(index: DatasetIndex, camera: int) -> str:
    return index.camera_names.get(camera, str(camera))


def _paths(images: pa.Table, rows: np.ndarray) -> str:
    paths = images["path"].take(pa.array(rows[:NUM_NAMED])).to_pylist()
    return ", ".join(paths) + (", …" if len(rows) > NUM_NAMED else "")
