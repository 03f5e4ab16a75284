"""Epochs that teach nothing of the target are said, others are not."""

import numpy as np
import pytest
import torch

from daam.config.losses import TargetLossSettings
from daam.training.adaptation import adaptation_warnings
from daam.training.relabel import EpochExemplars, EpochGroups

NUM_IMAGES = 120
CAMERAS = np.arange(NUM_IMAGES) % 4


def groups(groups_N: np.ndarray) -> EpochGroups:
    return EpochGroups(
        groups_N=groups_N,
        embeddings_NC=torch.zeros(len(groups_N), 2),
        num_groups=int(groups_N.max()) + 1,
        outlier_share=float((groups_N < 0).mean()),
        silhouette=None,
        self_retrieval=0.5,
    )


def warnings_of(
    groups_N: np.ndarray, *, cameras: np.ndarray | None = CAMERAS, loss: float = 0.5
) -> list[str]:
    return adaptation_warnings(
        groups(groups_N), cameras_N=cameras, target_loss=loss, settings=TargetLossSettings()
    )


PEOPLE = np.arange(NUM_IMAGES) // 8  # each seen by all cameras


@pytest.mark.parametrize("cameras", [CAMERAS, None, np.zeros(NUM_IMAGES, int)])
def test_groups_of_people_are_no_cause_for_warnings(cameras):
    assert warnings_of(PEOPLE, cameras=cameras) == []
    assert warnings_of(np.where(PEOPLE < 6, PEOPLE, -1), cameras=cameras) == []


def test_no_group_is_said_with_what_to_change():
    (warning,) = warnings_of(np.full(NUM_IMAGES, -1), loss=0.0)
    assert "none of 120 target images is in a group" in warning
    assert "loss.target.eps (now 0.6)" in warning
    assert "min_samples (now 4)" in warning


def test_one_group_is_said():
    (warning,) = warnings_of(np.zeros(NUM_IMAGES, int), loss=0.0)
    assert "are one" in warning


def test_many_outliers_are_said():
    (warning,) = warnings_of(np.where(PEOPLE < 3, PEOPLE, -1))
    assert warning.startswith("80% of the target images are in no group")


def test_groups_that_are_cameras_are_said():
    (warning,) = warnings_of(CAMERAS)
    assert "almost its cameras" in warning
    nearly = np.where(np.arange(NUM_IMAGES) < 4, 0, CAMERAS)
    assert "almost its cameras" in warnings_of(nearly)[0]
    assert warnings_of(CAMERAS, cameras=None) == []


def test_groups_within_cameras_are_said():
    within = CAMERAS * 5 + PEOPLE // 3  # five groups in each camera
    (warning,) = warnings_of(within)
    assert "only 0 of 20 groups of the target hold images of two cameras" in warning


def test_a_loss_of_zero_is_said_even_where_the_groups_look_right():
    (warning,) = warnings_of(PEOPLE, loss=0.0)
    assert "was 0 in every step" in warning
    exemplars = EpochExemplars(num_neighbours=2, keep=0.1)
    where = {"cameras_N": CAMERAS, "settings": TargetLossSettings(kind="exemplar")}
    assert len(adaptation_warnings(exemplars, target_loss=0.0, **where)) == 1
    assert adaptation_warnings(exemplars, target_loss=0.1, **where) == []
