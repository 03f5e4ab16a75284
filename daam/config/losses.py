"""The settings of the losses."""

from typing import Annotated, Literal

from pydantic import Field

from daam.config.section import Auto, Embedding, Section, Weight


class IdentityLossSettings(Section):
    """Cross-entropy over the source identities, on the shared branch."""

    label_smoothing: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="probability mass moved from the true identity to all identities evenly",
    )


class TripletLossSettings(Section):
    """Batch-hard triplet loss over the source identities, on the shared branch."""

    weight: Weight = Field(default=1.0, description="weight of the triplet loss; 0 turns it off")
    margin: float = Field(
        default=0.3,
        ge=0,
        le=2,
        description="margin between the furthest positive and the nearest negative, in cosine "
        "distance",
    )
    embedding: Embedding = Field(
        default="pooled",
        description="embedding that triplets compare: after pooling, or after the bottleneck",
    )


class DomainSimilaritySettings(Section):
    """Pulls the shared embeddings of both domains towards one nominal domain."""

    kind: Literal[
        "nominal_moment",
        "nominal_classifier",
        "soft_svdd",
        "domain_confusion",
        "gradient_reversal",
        "none",
    ] = Field(
        default="nominal_moment",
        description="form of the domain similarity loss; none turns it off",
    )
    weight: Weight = Field(
        default=5.0, description="weight of the loss after its ramp; 0 turns it off"
    )
    embedding: Embedding = Field(
        default="pooled",
        description="embedding whose distributions are aligned: after pooling, or after the "
        "bottleneck",
    )
    spread_weight: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="gamma of nominal_moment: weight of the standard deviations relative to the "
        "means",
    )
    momentum: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        description="beta: share of the nominal domain (soft_svdd: of the centre) kept at each "
        "step; higher changes it more slowly",
    )
    quantile: float = Field(
        default=0.9, gt=0, le=1, description="soft_svdd: share of the source images inside the ball"
    )


class DomainClassificationSettings(Section):
    """Trains the specific branch to tell the domains apart.

    It then holds what does not transfer between them.
    """

    weight: Weight = Field(
        default=0.1, description="weight of the loss after its ramp; 0 turns it off"
    )


class TargetLossSettings(Section):
    """The loss on the unlabelled target domain, and how its images are grouped."""

    kind: Literal["soft_label", "exemplar", "cluster_triplet", "none"] = Field(
        default="soft_label", description="form of the target loss; none turns it off"
    )
    weight: Weight = Field(
        default=1.0, description="weight of the loss after its ramp; 0 turns it off"
    )
    triplet_weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="soft_label: weight of an additional triplet loss on groups, multiplied by "
        "loss.target.weight; 0 turns it off",
    )
    triplet_margin: float = Field(
        default=0.3, ge=0, le=2, description="margin of triplets on groups, in cosine distance"
    )
    triplet_embedding: Embedding = Field(
        default="bottleneck",
        description="embedding that triplets on groups compare: after pooling, or after the "
        "bottleneck",
    )
    num_exemplars: int = Field(
        default=6,
        ge=0,
        le=100,
        description="exemplar: nearest images that each image is pulled towards; 0 uses the "
        "image alone",
    )
    exemplar_lone_epochs: int = Field(
        default=5,
        ge=0,
        description="exemplar: epochs at the start in which each image is its own only positive",
    )
    exemplar_momentum: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="exemplar: share of a memory slot kept at each step, multiplied by the epoch",
    )
    num_neighbours: Annotated[int, Field(ge=2, le=200)] | Auto = Field(
        default="auto",
        description="k1 of the Jaccard distance: neighbours in a k-reciprocal neighbourhood; auto "
        "is 1.75 times the source's images per person",
    )
    num_expansion: Annotated[int, Field(ge=1, le=50)] | Auto = Field(
        default="auto",
        description="k2 of the Jaccard distance: neighbours whose weights are averaged; 1 turns "
        "averaging off, auto is a fifth of k1",
    )
    eps: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="DBSCAN radius, in Jaccard distance; larger values make fewer, larger groups",
    )
    min_samples: int = Field(
        default=4,
        ge=2,
        le=100,
        description="DBSCAN: images within the radius, itself included, that make a core point",
    )
    centre_cameras: bool | Auto = Field(
        default="auto",
        description="subtract each camera's mean embedding before grouping; auto does if there are "
        "two cameras or more, with many images each",
    )
    temperature: float = Field(
        default=0.05,
        gt=0.001,
        le=10,
        description="temperature of the prediction over groups (exemplar: over images)",
    )
    target_temperature: float = Field(
        default=0.1, gt=0.001, le=10, description="temperature of the soft target"
    )
    softness: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="weight of the soft target against the hard group label; 0 uses the hard "
        "label alone",
    )
    momentum: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="share of a group's centre kept at each step; higher changes it more slowly",
    )

    @property
    def makes_groups(self) -> bool:
        """Whether the target's images are put into groups."""
        return self.kind in ("soft_label", "cluster_triplet") and self.weight > 0


class LossSettings(Section):
    """All losses. Those other than the source's own start after a warm-up and ramp up."""

    identity: IdentityLossSettings = IdentityLossSettings()
    triplet: TripletLossSettings = TripletLossSettings()
    domain_similarity: DomainSimilaritySettings = DomainSimilaritySettings()
    domain_classification: DomainClassificationSettings = DomainClassificationSettings()
    target: TargetLossSettings = TargetLossSettings()
    warmup_epochs: int = Field(
        default=2, ge=0, description="epochs at the start with the source's losses only"
    )
    ramp_epochs: int = Field(
        default=2,
        ge=0,
        description="epochs after the warm-up in which the other weights rise linearly to their "
        "full values",
    )

    @property
    def uses_target(self) -> bool:
        """Whether any loss looks at target images."""
        return (
            (self.target.kind != "none" and self.target.weight > 0)
            or (self.domain_similarity.kind != "none" and self.domain_similarity.weight > 0)
            or self.domain_classification.weight > 0
        )
