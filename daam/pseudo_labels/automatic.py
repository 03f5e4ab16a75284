"""How a target is grouped where its settings say `auto`: from counts that need no label of it.

How many people a target shows is unknown, so two counts stand in: how many images the source has of
a person, and how many the target has in a track. Explicit settings are kept.
"""

from dataclasses import dataclass

import numpy as np

from daam.errors import DataError

# 30 neighbours, which papers use, for the 17 images per person of Market-1501.
NEIGHBOURS_PER_IMAGE = 1.75
NEIGHBOURS_PER_EXPANSION = 5
MIN_NEIGHBOURS, MAX_NEIGHBOURS = 4, 200
# A neighbourhood never spans more than this share of the target.
MAX_NEIGHBOUR_SHARE = 0.25
# A camera's mean is that of the camera only if it averages over people.
MIN_PEOPLE_PER_CAMERA = 4
MIN_IMAGES_PER_CAMERA = 32
# Cameras that are many for their images are people or a counter, not cameras.
MIN_IMAGES_PER_CAMERA_AND_CAMERA = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """How the images of a target are grouped.

    Attributes:
        num_neighbours: k1 of the Jaccard distance.
        num_expansion: k2 of the Jaccard distance.
        centre_cameras: whether each camera's mean embedding is subtracted first.
        reasons: what was decided and why, a sentence each; empty if all was set.
    """

    num_neighbours: int
    num_expansion: int
    centre_cameras: bool
    reasons: tuple[str, ...]


def choose_grouping(
    *,
    num_images: int,
    cameras_N: np.ndarray | None,
    tracks_N: np.ndarray | None,
    source_images_per_person: float,
    num_neighbours: int | None,
    num_expansion: int | None,
    centre_cameras: bool | None,
) -> Grouping:
    """Decide what is not set.

    Args:
        num_images: N, of the target.
        cameras_N: (N,); None: unknown.
        tracks_N: (N,); None: unknown.
        source_images_per_person: mean.
        num_neighbours: k1; None: 1.75 times the images per person, which are those of the source,
            or those of a track if they are more: a neighbourhood has to reach beyond the track.
        num_expansion: k2; None: a fifth of k1.
        centre_cameras: None: if cameras are known, two or more, and large enough.

    Raises:
        DataError: cameras are to be centred, but unknown.
    """
    per_person, of_what = source_images_per_person, "images per person of the source"
    if tracks_N is not None and num_images:
        per_track = num_images / len(np.unique(tracks_N))
        if per_track > per_person:
            per_person, of_what = per_track, "images per track of the target"
    reasons = []
    if num_neighbours is None:
        most = max(MIN_NEIGHBOURS, min(MAX_NEIGHBOURS, int(MAX_NEIGHBOUR_SHARE * num_images)))
        wanted = round(NEIGHBOURS_PER_IMAGE * per_person)
        num_neighbours = min(most, max(MIN_NEIGHBOURS, wanted))
        reasons.append(f"k1 is {num_neighbours}, from {per_person:.1f} {of_what}")
    if num_expansion is None:
        num_expansion = max(1, round(num_neighbours / NEIGHBOURS_PER_EXPANSION))
    if centre_cameras is None:
        centre_cameras, reason = _centring(cameras_N, images_per_person=per_person)
        reasons.append(reason)
    elif centre_cameras and cameras_N is None:
        raise DataError(
            "loss.target.centre_cameras = true needs the cameras of the target, which are unknown; "
            "leave it at auto, or import the target with its cameras"
        )
    return Grouping(
        num_neighbours=num_neighbours,
        num_expansion=num_expansion,
        centre_cameras=centre_cameras,
        reasons=tuple(reasons),
    )


def _centring(cameras_N: np.ndarray | None, *, images_per_person: float) -> tuple[bool, str]:
    if cameras_N is None:
        return False, "cameras are not centred: they are unknown"
    _, counts = np.unique(cameras_N, return_counts=True)
    num_cameras = len(counts)
    if num_cameras < 2:
        return False, "cameras are not centred: there is only one"
    # The camera of the median image: a few cameras with few images decide nothing.
    typical = int(np.sort(np.repeat(counts, counts))[counts.sum() // 2])
    needed = max(
        MIN_IMAGES_PER_CAMERA,
        round(MIN_PEOPLE_PER_CAMERA * images_per_person),
        MIN_IMAGES_PER_CAMERA_AND_CAMERA * num_cameras,
    )
    found = f"{num_cameras:,} cameras with typically {typical:,} images"
    if typical < needed:
        return False, (
            f"cameras are not centred: of {found}, fewer than {needed:,}, a mean could be "
            "that of a few people"
        )
    return True, f"cameras are centred: {found}"
