"""Pseudo-labels of the target, made at the start of an epoch: groups, or a memory of exemplars.

Shapes: N = target train images, C = embedding width, K = groups.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.dataset.pixels.normalise import normalise
from daam.errors import TrainingError
from daam.metrics.diagnostics import silhouette
from daam.metrics.label_free import self_retrieval
from daam.model.network import DaamNetwork
from daam.pseudo_labels.exemplars import initial_exemplars
from daam.pseudo_labels.grouping import PseudoLabels, pseudo_labels
from daam.pseudo_labels.memory import initial_centres
from daam.spread import spread_evenly
from daam.training import collectives
from daam.training.objective import BatchExemplars, BatchGroups
from daam.training.scoring.extract import adapted_to, embed_rows
from daam.training.setup.assemble import Run

NUM_MIRRORED = 256
MAX_KEEP = 0.99  # an exemplar that kept all of itself would never change


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochGroups:
    """The groups of an epoch.

    Attributes:
        groups_N: each image's group; -1 for an outlier.
        embeddings_NC: that the groups were made from.
        outlier_share: share of the images in no group.
        silhouette: of the groups, from -1 to 1; None with fewer than two.
        self_retrieval: share of mirrored images whose nearest image is their own.
    """

    groups_N: np.ndarray
    embeddings_NC: Tensor
    num_groups: int
    outlier_share: float
    silhouette: float | None
    self_retrieval: float

    def of_rows(self, rows: Tensor, run: Run) -> BatchGroups:
        """Return the labels of a batch's rows, on the run's device."""
        return BatchGroups(
            of_images_T=run.compute.move(torch.from_numpy(self.groups_N[rows.numpy()])),
            embeddings_TC=run.compute.move(self.embeddings_NC[rows]),
        )

    def as_diagnostics(self) -> dict[str, float]:
        """Return the entries of the epoch's report."""
        found = {"num_groups": self.num_groups, "outlier_share": self.outlier_share}
        return found if self.silhouette is None else found | {"silhouette": self.silhouette}

    def as_label_free(self) -> dict[str, float]:
        """Return the scores without labels of the epoch's report."""
        return {"self_retrieval": self.self_retrieval}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochExemplars:
    """How the exemplar memory is used in an epoch: see `daam.losses.target.exemplar_loss`."""

    num_neighbours: int
    keep: float

    def of_rows(self, rows: Tensor, run: Run) -> BatchExemplars:
        """Return the labels of a batch's rows, on the run's device."""
        return BatchExemplars(
            rows_T=run.compute.move(rows), num_neighbours=self.num_neighbours, keep=self.keep
        )

    def as_diagnostics(self) -> dict[str, float]:
        """Return the entries of the epoch's report."""
        return {}

    def as_label_free(self) -> dict[str, float]:
        """Return the scores without labels of the epoch's report: none, as nothing is embedded."""
        return {}


def relabel(run: Run, *, epoch: int) -> EpochGroups | EpochExemplars:
    """Make the pseudo-labels of an epoch (from 0) and the matching part of the run's memory."""
    loss = run.config.loss
    if loss.target.kind != "exemplar":
        return regroup(run)
    if run.memory.exemplars_NC is None:
        embeddings_NC = embedded_target(run, network_of_target(run))
        run.memory.exemplars_NC = run.compute.move(initial_exemplars(embeddings_NC))
    epochs_of_loss = epoch - loss.warmup_epochs
    alone = epochs_of_loss < loss.target.exemplar_lone_epochs
    return EpochExemplars(
        num_neighbours=0 if alone else loss.target.num_exemplars,
        keep=min(MAX_KEEP, loss.target.exemplar_momentum * (epoch + 1)),
    )


def regroup(run: Run) -> EpochGroups:
    """Embed the target's train images, group them and set the groups' centres.

    Collective: rank 0 makes the groups, every rank gets them.
    """
    loss = run.config.loss.target
    network = network_of_target(run)
    embeddings_NC = compared_NC = embedded_target(run, network)
    if run.grouping.centre_cameras and run.target.cameras is not None:
        compared_NC = without_cameras(embeddings_NC, run.target.cameras)
    found: PseudoLabels | TrainingError | None = None
    if collectives.rank() == 0:
        try:
            found = pseudo_labels(
                compared_NC,
                k1=run.grouping.num_neighbours,
                k2=run.grouping.num_expansion,
                eps=loss.eps,
                min_samples=loss.min_samples,
                tracks=run.target.tracks,
            )
        except TrainingError as error:
            found = error  # raised by every rank below, or the others would wait
    labels = collectives.from_rank_zero(found)
    if isinstance(labels, TrainingError):
        raise labels
    if labels is None:
        raise AssertionError("rank 0 sends the pseudo-labels it made")
    centres_KC = initial_centres(
        embeddings_NC, torch.from_numpy(labels.groups), num_groups=labels.num_groups
    )
    run.memory.centres_KC = run.compute.move(centres_KC)
    return EpochGroups(
        groups_N=labels.groups,
        embeddings_NC=embeddings_NC,
        num_groups=labels.num_groups,
        outlier_share=labels.outlier_share,
        silhouette=silhouette(compared_NC, labels.groups, seed=run.config.seed),
        self_retrieval=mirrored_self_retrieval(run, network, embeddings_NC),
    )


def network_of_target(run: Run) -> DaamNetwork:
    """Return the network that labels the target, with batch-norm statistics of the target."""
    network = run.network
    if run.config.teacher.labels and run.teacher is not None:
        network = run.teacher
    return adapted_to(
        network,
        run.target.reader,
        batch_size=run.config.evaluation.batch_size,
        compute=run.compute,
    )


def embedded_target(run: Run, network: DaamNetwork) -> Tensor:
    """Embed the target's train images, (N, C).

    Always by the bottleneck, whichever embedding is tested: group centres and exemplars are
    bottleneck embeddings.
    """
    return embed_rows(
        network,
        run.target.reader,
        batch_size=run.config.evaluation.batch_size,
        flip=run.config.evaluation.flip,
        compute=run.compute,
        num_threads=run.config.data.num_threads,
        embedding="bottleneck",
    )


def mirrored_self_retrieval(run: Run, network: DaamNetwork, embeddings_NC: Tensor) -> float:
    """Mirror 256 images: the share whose nearest image of the whole target is their own.

    Of the scores without labels it is the cheapest that orders runs as mAP does
    (docs/benchmarks/assessment.md).

    Args:
        run: not changed.
        network: which embedded the target; put into eval mode.
        embeddings_NC: of the target.
    """
    network.eval()
    rows = spread_evenly(len(embeddings_NC), count=NUM_MIRRORED)
    mirrored = []
    with torch.inference_mode(), run.compute.autocast():
        for part in np.array_split(rows, -(-len(rows) // run.config.evaluation.batch_size)):
            images_BCHW = normalise(run.compute.move(run.target.reader.read(part))).flip(3)
            # Averaged with its mirror image (evaluation.flip) it would be the original itself.
            mirrored.append(network.embed(images_BCHW, embedding="bottleneck"))
    mirrored_QC = torch.cat(mirrored).float().cpu()
    return self_retrieval(embeddings_NC, mirrored_QC, rows=torch.from_numpy(rows))


def without_cameras(embeddings_NC: Tensor, cameras_N: np.ndarray) -> Tensor:
    """Subtract from each embedding the mean of its camera, and scale it back to length 1.

    Early in training a camera's effect on its images exceeds the differences between people, and
    groups would be cameras. The camera of an image is known in the target, too: no label is used.
    """
    centred_NC = embeddings_NC.clone()
    for camera in np.unique(cameras_N):
        rows = torch.from_numpy(cameras_N == camera)
        centred_NC[rows] -= embeddings_NC[rows].mean(dim=0)
    return F.normalize(centred_NC, dim=1)
