"""Signs that a run does not learn from its target, in words for the user.

None of them stops a run: pseudo-labels may recover in a later epoch. Shapes: N = target images.
"""

import numpy as np

from daam.config.losses import TargetLossSettings
from daam.training.relabel import EpochExemplars, EpochGroups

MANY_OUTLIERS = 0.75
# Groups and cameras that share this much information are the same partition, but for a few images.
SAME_PARTITION = 0.8
FEW_ACROSS_CAMERAS = 0.05


def adaptation_warnings(
    labels: EpochGroups | EpochExemplars,
    *,
    cameras_N: np.ndarray | None,
    target_loss: float,
    settings: TargetLossSettings,
) -> list[str]:
    """A sentence for each sign that an epoch taught nothing of the target.

    Args:
        labels: the pseudo-labels of the epoch.
        cameras_N: of the target; None: unknown.
        target_loss: mean over the epoch's steps, before its weight.
        settings: of the target's loss, for advice.
    """
    found = group_warnings(labels, cameras_N=cameras_N, settings=settings)
    if target_loss == 0 and not found:
        found.append(
            "the target's loss was 0 in every step: nothing was learnt from the target in this "
            "epoch"
        )
    return found


def group_warnings(
    labels: EpochGroups | EpochExemplars,
    *,
    cameras_N: np.ndarray | None,
    settings: TargetLossSettings,
) -> list[str]:
    """What is wrong with the groups of an epoch; at most one sentence of each kind."""
    if isinstance(labels, EpochExemplars):
        return []
    eps = f"loss.target.eps (now {settings.eps:g})"
    if labels.num_groups == 0:
        return [
            f"none of {len(labels.groups_N):,} target images is in a group, so that nothing was "
            f"learnt from the target in this epoch: raise {eps} or lower loss.target.min_samples "
            f"(now {settings.min_samples}), or train the source longer (loss.warmup_epochs)"
        ]
    found = []
    if labels.num_groups == 1:
        found.append(
            "all groups of the target are one, which tells no people apart: lower "
            f"{eps} or loss.target.num_neighbours"
        )
    if labels.outlier_share > MANY_OUTLIERS:
        found.append(
            f"{labels.outlier_share:.0%} of the target images are in no group and taught nothing "
            f"in this epoch: raise {eps} or lower loss.target.min_samples (now "
            f"{settings.min_samples})"
        )
    if cameras_N is not None and (problem := camera_warning(labels, cameras_N)) is not None:
        found.append(problem)
    return found


def camera_warning(labels: EpochGroups, cameras_N: np.ndarray) -> str | None:
    """Whether the groups are cameras, or never hold two; None if neither."""
    from sklearn.metrics import normalized_mutual_info_score

    grouped = labels.groups_N >= 0
    groups, cameras = labels.groups_N[grouped], cameras_N[grouped]
    if labels.num_groups < 2 or len(np.unique(cameras)) < 2:
        return None
    if normalized_mutual_info_score(cameras, groups) > SAME_PARTITION:
        return (
            f"the {labels.num_groups:,} groups of the target are almost its cameras: they tell "
            "cameras apart, not people; set loss.target.centre_cameras = true if each camera sees "
            "many people"
        )
    pairs = np.unique(np.column_stack([groups, cameras]), axis=0)
    num_across = int((np.bincount(pairs[:, 0]) > 1).sum())
    if num_across < FEW_ACROSS_CAMERAS * labels.num_groups:
        return (
            f"only {num_across:,} of {labels.num_groups:,} groups of the target hold images of two "
            "cameras, so that nobody is matched across cameras: raise loss.target.num_neighbours "
            "or train the source longer (loss.warmup_epochs)"
        )
    return None
