"""Pseudo-labels of the target, made anew at the start of an epoch.

Shapes: N = target train images, C = embedding width, K = groups.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.labels.grouping import PseudoLabels, pseudo_labels
from daam.labels.memory import initial_centres
from daam.training import collectives
from daam.training.assemble import Run
from daam.training.extract import adapted_to, embed_rows
from daam.training.objective import BatchGroups


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLabels:
    """The groups of an epoch; `groups_N` is -1 for an outlier."""

    groups_N: np.ndarray
    embeddings_NC: Tensor
    num_groups: int
    outlier_share: float

    def of_rows(self, rows: Tensor, run: Run) -> BatchGroups:
        """Pick the labels of a batch's rows, on the run's device."""
        return BatchGroups(
            of_images_T=run.compute.move(torch.from_numpy(self.groups_N[rows.numpy()])),
            embeddings_TC=run.compute.move(self.embeddings_NC[rows]),
        )


def relabel(run: Run) -> EpochLabels:
    """Embed the target's train images, group them and set the groups' centres.

    The network that embeds has batch-norm statistics of the target. Rank 0 groups; every rank gets
    the same groups.
    """
    evaluation, loss = run.config.evaluation, run.config.loss.target
    adapted = adapted_to(
        run.network, run.target.reader, batch_size=evaluation.batch_size, compute=run.compute
    )
    embeddings_NC = embed_rows(
        adapted,
        run.target.reader,
        batch_size=evaluation.batch_size,
        flip=evaluation.flip,
        compute=run.compute,
    )
    labels: PseudoLabels | None = None
    if collectives.rank() == 0:
        labels = pseudo_labels(
            without_cameras(embeddings_NC, run.target.cameras)
            if loss.centre_cameras
            else embeddings_NC,
            k1=loss.num_neighbours,
            k2=loss.num_expansion,
            eps=loss.eps,
            min_samples=loss.min_samples,
        )
    labels = collectives.from_rank_zero(labels)
    if labels is None:
        raise AssertionError("rank 0 sends the pseudo-labels it made")
    centres_KC = initial_centres(
        embeddings_NC, torch.from_numpy(labels.groups), num_groups=labels.num_groups
    )
    run.memory.centres_KC = run.compute.move(centres_KC)
    return EpochLabels(
        groups_N=labels.groups,
        embeddings_NC=embeddings_NC,
        num_groups=labels.num_groups,
        outlier_share=labels.outlier_share,
    )


def without_cameras(embeddings_NC: Tensor, cameras_N: np.ndarray) -> Tensor:
    """Subtract from each embedding the mean of its camera, and scale it back to length 1.

    Early on what a camera does to all its images is larger than what tells people apart, and groups
    would be cameras. Which camera took an image is known in the target too; this uses no label.
    """
    centred_NC = embeddings_NC.clone()
    for camera in np.unique(cameras_N):
        rows = torch.from_numpy(cameras_N == camera)
        centred_NC[rows] -= embeddings_NC[rows].mean(dim=0)
    return F.normalize(centred_NC, dim=1)
