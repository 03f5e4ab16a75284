"""What is left to the data is decided from counts, and what is set is kept."""

import numpy as np
import pytest

from daam.errors import DataError
from daam.pseudo_labels.automatic import Grouping, choose_grouping


def chosen(
    *,
    cameras: np.ndarray | None = None,
    tracks: np.ndarray | None = None,
    num_images: int = 10_000,
    per_person: float = 17.2,
    k1: int | None = None,
    k2: int | None = None,
    centre: bool | None = None,
) -> Grouping:
    return choose_grouping(
        num_images=num_images if cameras is None else len(cameras),
        cameras_N=cameras,
        tracks_N=tracks,
        source_images_per_person=per_person,
        num_neighbours=k1,
        num_expansion=k2,
        centre_cameras=centre,
    )


def cameras_of(num_cameras: int, *, images: int) -> np.ndarray:
    return np.repeat(np.arange(num_cameras), images)


@pytest.mark.parametrize(
    ("per_person", "k1", "k2"),
    [(17.2, 30, 6), (9.2, 16, 3), (31.3, 55, 11), (1.0, 4, 1), (500.0, 200, 40)],
)
def test_k1_and_k2_are_from_the_images_per_person_of_the_source(
    per_person: float, k1: int, k2: int
) -> None:
    found = chosen(per_person=per_person)
    assert (found.num_neighbours, found.num_expansion) == (k1, k2)
    assert f"k1 is {k1}, from {per_person:.1f} images per person" in found.reasons[0]


def test_a_neighbourhood_reaches_beyond_a_track() -> None:
    tracks = np.arange(10_000) // 40
    found = chosen(tracks=tracks)
    assert found.num_neighbours == 70
    assert "40.0 images per track" in found.reasons[0]
    assert chosen(tracks=np.arange(10_000) // 2).num_neighbours == 30


def test_a_neighbourhood_is_never_most_of_a_small_target() -> None:
    assert chosen(num_images=60).num_neighbours == 15
    assert chosen(num_images=3).num_neighbours == 4
    assert chosen(num_images=0).num_neighbours == 4


def test_what_is_set_is_kept() -> None:
    cameras = cameras_of(2, images=1)
    found = chosen(cameras=cameras, k1=9, k2=5, centre=True)
    assert found == Grouping(num_neighbours=9, num_expansion=5, centre_cameras=True, reasons=())
    assert chosen(k1=12).num_expansion == 2
    assert not chosen(cameras=cameras_of(6, images=2_000), centre=False).centre_cameras


@pytest.mark.parametrize(
    ("cameras", "per_person", "centred", "why"),
    [
        (None, 9, False, "unknown"),
        (cameras_of(1, images=5_000), 9, False, "only one"),
        (cameras_of(5_000, images=1), 9, False, "5,000 cameras with typically 1 images"),
        (cameras_of(2_000, images=2), 9, False, "with typically 2 images"),
        (cameras_of(600, images=6), 9, False, "with typically 6 images"),
        (cameras_of(4, images=52), 9, True, "4 cameras with typically 52 images"),
        (cameras_of(4, images=52), 17.2, False, "fewer than 69"),  # 3 people or so
        (cameras_of(100, images=50), 9, False, "fewer than 400"),  # each camera a person
        (cameras_of(6, images=2_000), 17.2, True, "with typically 2,000 images"),
        (np.repeat(np.arange(7), [1] + 6 * [2_000]), 17.2, True, "7 cameras"),
    ],
)
def test_cameras_are_centred_if_their_means_are_not_those_of_people(
    cameras: np.ndarray | None, per_person: float, centred: bool, why: str
) -> None:
    found = chosen(cameras=cameras, per_person=per_person)
    assert found.centre_cameras == centred
    assert why in found.reasons[-1]


def test_unknown_cameras_cannot_be_centred() -> None:
    with pytest.raises(DataError, match=r"centre_cameras = true needs .* leave it at auto"):
        chosen(centre=True)
