"""The training objective: the weighted sum of all losses of the method, from one forward pass.

Shapes: B = images, S = source images among them (they come first), T = target images, C = channels,
K = groups, N = images of the target's train split.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from daam.losses.domain_classification import domain_classification_loss
from daam.losses.domain_similarity import (
    domain_confusion_loss,
    domain_moments,
    gradient_reversal_loss,
    nominal_classifier_loss,
    nominal_moment,
    soft_svdd_loss,
    update_nominal_domain,
    update_source_centre,
)
from daam.losses.identity import identity_loss
from daam.losses.target import exemplar_loss, group_triplet_loss, soft_label_loss
from daam.losses.triplet import batch_hard_triplet
from daam.model.branches import Embedding
from daam.model.network import ModelOutput
from daam.pseudo_labels.exemplars import update_exemplars
from daam.pseudo_labels.memory import update_centres
from daam.training import collectives


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weight of each loss in one epoch; that of the identity loss is always 1."""

    triplet: float
    domain_similarity: float
    domain_classification: float
    target: float
    target_triplet: float

    @property
    def need_target(self) -> bool:
        """Whether target images are needed in the batch."""
        return self.domain_similarity > 0 or self.domain_classification > 0 or self.target > 0


@dataclass(slots=True, kw_only=True)
class Memory:
    """State that losses keep between steps: the same on every rank, and part of a checkpoint.

    The nominal domain (C,) and the source's centre (C,) are None until the first step that needs
    them, the exemplars until the target's loss begins. Group centres are recomputed with the groups
    of each epoch, so they are in no checkpoint.
    """

    nominal_centre: Tensor | None = None
    nominal_spread: Tensor | None = None
    source_centre: Tensor | None = None
    exemplars_NC: Tensor | None = None
    centres_KC: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchGroups:
    """The groups of a batch's target images, -1 for an outlier."""

    of_images_T: Tensor
    embeddings_TC: Tensor
    """The images' embeddings at the start of the epoch, from which the groups were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchExemplars:
    """The rows of a batch's target images in the exemplar memory, and how it is used."""

    rows_T: Tensor
    num_neighbours: int
    keep: float
    """Momentum of an exemplar: the share it keeps in a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossReport:
    """A step's total loss, each term before weighting, and the weights."""

    total: Tensor
    terms: dict[str, Tensor]
    weights: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The losses' own settings; see `daam.config.schema` for what each means."""

    label_smoothing: float
    triplet_margin: float
    triplet_embedding: Embedding
    similarity_kind: str
    similarity_embedding: Embedding
    similarity_quantile: float
    nominal_spread_weight: float
    nominal_momentum: float
    target_kind: str
    target_temperature: float
    soft_target_temperature: float
    target_softness: float
    target_triplet_margin: float
    target_triplet_embedding: Embedding
    centre_momentum: float

    def __call__(
        self,
        output: ModelOutput,
        *,
        weights: Weights,
        identities_S: Tensor,
        labels: BatchGroups | BatchExemplars | None,
        memory: Memory,
    ) -> LossReport:
        """Compute the loss of one batch and update the memory.

        Args:
            output: of the concatenated batch, source first.
            weights: of this epoch.
            identities_S: the source images' identities, counted from 0.
            labels: pseudo-labels or exemplars for the target's loss; None in an epoch without it.
            memory: updated in place, identically on every rank.
        """
        num_source = len(identities_S)
        images_B = torch.arange(len(output.shared_BC), device=output.shared_BC.device)
        domains_B = (images_B >= num_source).long()
        units: dict[Embedding, Tensor] = {
            "pooled": F.normalize(output.shared_BC.float(), dim=1),
            "bottleneck": F.normalize(output.bottleneck_BC.float(), dim=1),
        }

        terms = {
            "identity": identity_loss(
                output.identity_logits_SI, identities_S, label_smoothing=self.label_smoothing
            )
        }
        counts = {"identity": 1.0}
        if weights.triplet > 0:
            counts["triplet"] = weights.triplet
            terms["triplet"] = batch_hard_triplet(
                units[self.triplet_embedding][:num_source],
                identities_S,
                margin=self.triplet_margin,
            )
        # Included even at weight 0: data parallelism needs a gradient for every parameter.
        if output.domain_logits_B2 is not None:
            counts["domain_classification"] = weights.domain_classification
            terms["domain_classification"] = domain_classification_loss(
                output.domain_logits_B2, domains_B
            )
        if weights.domain_similarity > 0 or output.similarity_logits is not None:
            counts["domain_similarity"] = weights.domain_similarity
            terms["domain_similarity"] = self.domain_similarity(
                units[self.similarity_embedding],
                domains_B,
                logits=output.similarity_logits,
                memory=memory,
            )
        if labels is not None:
            compared_TC = units[self.target_triplet_embedding][num_source:]
            counts["target"] = weights.target
            terms["target"] = self.target(
                units["bottleneck"][num_source:], compared_TC, labels=labels, memory=memory
            )
            if weights.target_triplet > 0 and isinstance(labels, BatchGroups):
                counts["target_triplet"] = weights.target_triplet
                terms["target_triplet"] = group_triplet_loss(
                    compared_TC, labels.of_images_T, margin=self.target_triplet_margin
                )
        total = terms["identity"]
        for name, weight in counts.items():
            if name != "identity":
                total = total + weight * terms[name]
        return LossReport(total=total, terms=terms, weights=counts)

    def domain_similarity(
        self,
        shared_BC: Tensor,
        domains_B: Tensor,
        *,
        logits: tuple[Tensor, Tensor | None] | None,
        memory: Memory,
    ) -> Tensor:
        """Compute the domain similarity loss of the configured kind."""
        match self.similarity_kind, logits:
            case "nominal_moment", None:
                return self.nominal_moment(shared_BC, domains_B, memory=memory)
            case "soft_svdd", None:
                return self.soft_svdd(shared_BC, domains_B, memory=memory)
            case "nominal_classifier", (shared_B3, Tensor() as specific_B3):
                return nominal_classifier_loss(shared_B3, specific_B3, domains_B)
            case "domain_confusion", (learning_B2, Tensor() as confusing_B2):
                return domain_confusion_loss(learning_B2, confusing_B2, domains_B)
            case "gradient_reversal", (logits_B2, None):
                return gradient_reversal_loss(logits_B2, domains_B)
            case kind, _:
                raise AssertionError(f"the network has no head for the domain similarity {kind}")

    def nominal_moment(self, shared_BC: Tensor, domains_B: Tensor, *, memory: Memory) -> Tensor:
        """Update the nominal domain from both domains, then compute their distance from it."""
        moments = domain_moments(shared_BC, domains_B)
        if memory.nominal_centre is None or memory.nominal_spread is None:
            nothing = torch.zeros_like(shared_BC[0])
            centre, spread = update_nominal_domain(nothing, nothing, moments, beta=0.0)
        else:
            centre, spread = update_nominal_domain(
                memory.nominal_centre, memory.nominal_spread, moments, beta=self.nominal_momentum
            )
        both = collectives.mean_over_ranks(torch.stack([centre, spread]))
        memory.nominal_centre, memory.nominal_spread = both[0], both[1]
        return nominal_moment(
            shared_BC,
            domains_B,
            centre=memory.nominal_centre,
            spread=memory.nominal_spread,
            gamma=self.nominal_spread_weight,
        )

    def soft_svdd(self, shared_BC: Tensor, domains_B: Tensor, *, memory: Memory) -> Tensor:
        """Update the source's centre, then compute how far target images lie outside its ball."""
        centre, beta = memory.source_centre, self.nominal_momentum
        if centre is None:
            centre, beta = torch.zeros_like(shared_BC[0]), 0.0
        centre = update_source_centre(centre, shared_BC, domains_B, beta=beta)
        memory.source_centre = collectives.mean_over_ranks(centre)
        return soft_svdd_loss(
            shared_BC, domains_B, centre=memory.source_centre, quantile=self.similarity_quantile
        )

    def target(
        self,
        bottleneck_TC: Tensor,
        compared_TC: Tensor,
        *,
        labels: BatchGroups | BatchExemplars,
        memory: Memory,
    ) -> Tensor:
        """Compute the target's loss of the configured kind, then update its memory.

        Args:
            bottleneck_TC: of length 1, compared with groups' centres and exemplars.
            compared_TC: of length 1, compared with each other by triplets.
            labels: pseudo-labels or exemplars.
            memory: updated in place, after the loss.
        """
        match self.target_kind, labels:
            case "soft_label", BatchGroups(of_images_T=groups_T):
                centres_KC = remembered(memory.centres_KC)
                loss = soft_label_loss(
                    bottleneck_TC,
                    groups_T,
                    centres_KC,
                    epoch_start_embeddings=labels.embeddings_TC,
                    temperature=self.target_temperature,
                    target_temperature=self.soft_target_temperature,
                    softness=self.target_softness,
                )
                all_BC, groups_B = map(collectives.gather_equal, (bottleneck_TC, groups_T))
                memory.centres_KC = update_centres(
                    centres_KC, all_BC, groups_B, momentum=self.centre_momentum
                )
                return loss
            case "exemplar", BatchExemplars(rows_T=rows_T):
                exemplars_NC = remembered(memory.exemplars_NC)
                loss = exemplar_loss(
                    bottleneck_TC,
                    rows_T,
                    exemplars_NC,
                    temperature=self.target_temperature,
                    num_neighbours=labels.num_neighbours,
                )
                all_BC, rows_B = map(collectives.gather_equal, (bottleneck_TC, rows_T))
                memory.exemplars_NC = update_exemplars(
                    exemplars_NC, all_BC, rows_B, keep=labels.keep
                )
                return loss
            case "cluster_triplet", BatchGroups():
                return group_triplet_loss(
                    compared_TC, labels.of_images_T, margin=self.target_triplet_margin
                )
            case kind, _:
                raise AssertionError(f"the target's loss {kind} does not take these labels")


def remembered(memory: Tensor | None) -> Tensor:
    """Return a memory that `relabel` has filled before the epoch's first step."""
    if memory is None:
        raise AssertionError("relabel fills the memory of the target's loss before the first step")
    return memory
