"""What a step minimises: every loss of the method, weighted, from one forward pass.

Shapes: B = images, S = source images among them (they come first), T = target images, C = channels,
K = groups.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from daam.labels.memory import moved_centres
from daam.loss.domain_classification import domain_classification_loss
from daam.loss.domain_similarity import domain_moments, moved_nominal_domain, nominal_moment
from daam.loss.identity import identity_loss
from daam.loss.target import soft_label_loss
from daam.loss.triplet import batch_hard_triplet
from daam.model.network import ModelOutput
from daam.training import collectives


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each loss counts in one epoch; the identity loss always counts 1."""

    triplet: float
    domain_similarity: float
    domain_classification: float
    target: float

    @property
    def need_target(self) -> bool:
        """Whether target images are needed in the batch."""
        return self.domain_similarity > 0 or self.domain_classification > 0 or self.target > 0


@dataclass(slots=True, kw_only=True)
class Memory:
    """What the losses remember between steps: the same on every rank, part of a checkpoint.

    `nominal_centre` and `nominal_spread` (C,) are None until both domains have been seen;
    `centres_KC` belong to the groups of one epoch and are made anew with them.
    """

    nominal_centre: Tensor | None = None
    nominal_spread: Tensor | None = None
    centres_KC: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchGroups:
    """The pseudo-labels of a batch's target images, -1 for an outlier, and how these were made."""

    of_images_T: Tensor
    embeddings_TC: Tensor
    """The images' embeddings when the groups were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossReport:
    """A step's total, and each term before its weight."""

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The losses' own settings; see `daam.config.schema` for what each means."""

    label_smoothing: float
    triplet_margin: float
    nominal_spread_weight: float
    nominal_momentum: float
    target_temperature: float
    soft_target_temperature: float
    target_softness: float
    centre_momentum: float

    def __call__(
        self,
        output: ModelOutput,
        *,
        weights: Weights,
        identities_S: Tensor,
        groups: BatchGroups | None,
        memory: Memory,
    ) -> LossReport:
        """Compute the total of one batch and move the memory on.

        Args:
            output: of the concatenated batch, source first.
            weights: of this epoch.
            identities_S: the source images' identities, counted from 0.
            groups: the target images' pseudo-labels; None in an epoch without the target's loss.
            memory: changed in place, by the same amount on every rank.
        """
        num_source = len(identities_S)
        domains_B = torch.zeros(len(output.shared_BC), dtype=torch.int64)
        domains_B[num_source:] = 1
        domains_B = domains_B.to(output.shared_BC.device)
        shared_BC = F.normalize(output.shared_BC.float(), dim=1)

        terms = {
            "identity": identity_loss(
                output.identity_logits_SI, identities_S, label_smoothing=self.label_smoothing
            )
        }
        total = terms["identity"]
        if weights.triplet > 0:
            terms["triplet"] = batch_hard_triplet(
                shared_BC[:num_source], identities_S, margin=self.triplet_margin
            )
            total = total + weights.triplet * terms["triplet"]
        if output.domain_logits_B2 is not None:
            # Also at weight 0: under data parallelism every parameter needs a gradient.
            terms["domain_classification"] = domain_classification_loss(
                output.domain_logits_B2, domains_B
            )
            total = total + weights.domain_classification * terms["domain_classification"]
        if weights.domain_similarity > 0:
            terms["domain_similarity"] = self.domain_similarity(shared_BC, domains_B, memory=memory)
            total = total + weights.domain_similarity * terms["domain_similarity"]
        if groups is not None and memory.centres_KC is not None:
            terms["target"] = self.target(
                F.normalize(output.bottleneck_BC[num_source:].float(), dim=1),
                groups.of_images_T,
                groups.embeddings_TC,
                memory.centres_KC,
                memory=memory,
            )
            total = total + weights.target * terms["target"]
        return LossReport(total=total, terms=terms)

    def domain_similarity(self, shared_BC: Tensor, domains_B: Tensor, *, memory: Memory) -> Tensor:
        """Move the nominal domain towards both domains, then measure how far they are from it."""
        moments = domain_moments(shared_BC, domains_B)
        if memory.nominal_centre is None or memory.nominal_spread is None:
            nothing = torch.zeros_like(shared_BC[0])
            centre, spread = moved_nominal_domain(nothing, nothing, moments, beta=0.0)
        else:
            centre, spread = moved_nominal_domain(
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

    def target(
        self,
        embeddings_TC: Tensor,
        groups_T: Tensor,
        embeddings_at_start_TC: Tensor,
        centres_KC: Tensor,
        *,
        memory: Memory,
    ) -> Tensor:
        """Compare target images with the groups' centres, then move the centres to them."""
        loss = soft_label_loss(
            embeddings_TC,
            groups_T,
            centres_KC,
            epoch_start_embeddings=embeddings_at_start_TC,
            temperature=self.target_temperature,
            target_temperature=self.soft_target_temperature,
            softness=self.target_softness,
        )
        memory.centres_KC = moved_centres(
            centres_KC,
            collectives.gather_equal(embeddings_TC),
            collectives.gather_equal(groups_T),
            momentum=self.centre_momentum,
        )
        return loss
