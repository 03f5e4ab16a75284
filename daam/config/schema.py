"""What one run is: every setting, its default, its range and what it means.

The models are frozen and strict, and refuse settings that do not exist. Nothing else in daam holds
a default of a setting.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from daam.config.agreement import check_batches, check_epochs, check_losses, check_parts
from daam.domains import Transfer
from daam.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Embedding = Literal["pooled", "bottleneck"]


class Section(BaseModel):
    """A group of settings; immutable, exact types, no unknown names."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class AugmentationSettings(Section):
    """What is changed at random in a training image."""

    flip: Share = Field(default=0.5, description="probability of a left-right flip")
    pad: int = Field(default=10, ge=0, description="pixels of padding before the random crop")
    erase: Share = Field(default=0.5, description="probability that a random rectangle is erased")
    brightness: Share = Field(default=0.0, description="largest relative change of brightness")
    contrast: Share = Field(default=0.0, description="largest relative change of contrast")
    saturation: Share = Field(default=0.0, description="largest relative change of saturation")


class DataSettings(Section):
    """Where images come from and how they become batches."""

    root: str = Field(
        default="data/rendered",
        min_length=1,
        description="folder or s3://bucket/prefix of the domains",
    )
    cache: str = Field(
        default="~/.cache/daam",
        min_length=1,
        description="folder on each node for images fetched once from a remote store",
    )
    cache_gb: float = Field(
        default=50.0,
        ge=0,
        description="most 10^9 bytes of images in that folder, shared by all runs of the node; "
        "those opened least recently make room; 0 keeps none",
    )
    oracle_labels: bool = Field(
        default=False,
        description="learn from the target's own labels in place of the source: the ceiling that "
        "no method without them can be expected to pass, for comparison alone",
    )
    height: int = Field(default=256, ge=16, le=1024, description="image height in pixels")
    width: int = Field(default=128, ge=8, le=1024, description="image width in pixels")
    identities_per_batch: int = Field(default=16, ge=2, description="P of a source batch of P x K")
    images_per_identity: int = Field(default=4, ge=2, description="K of a source batch of P x K")
    target_batch_size: int = Field(
        default=64, ge=2, description="unlabelled target images in a batch"
    )
    num_threads: int = Field(
        default=2, ge=1, le=64, description="threads that decode, for each worker"
    )
    decode: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="where JPEGs become pixels; auto is cpu, whose pixels are the same on every "
        "machine; a GPU's differ, at edges of colours by much. What is scored is always decoded "
        "on the CPU",
    )
    augmentation: AugmentationSettings = AugmentationSettings()


class AttentionSettings(Section):
    """The map A that splits features: shared = A(F) * F, specific = F - shared."""

    kind: Literal["factorised", "channel", "spatial", "full", "none"] = Field(
        default="factorised",
        description="what A varies over: channels plus places, channels, places, both at once; "
        "none: all features are shared",
    )
    placement: Literal["last", "before_last"] = Field(
        default="last",
        description="which stage of the backbone A splits: the last one's features, or those "
        "before it, with the last stage run by each branch",
    )
    reduction: int = Field(
        default=16, ge=1, le=64, description="squeeze ratio of the channel attention"
    )
    initial_bias: float = Field(
        default=1.0, ge=-4, le=6, description="bias before the sigmoid at start"
    )
    kernel: Literal[1, 3, 5, 7] = Field(default=3, description="kernel of the spatial attention")
    temperature: float = Field(
        default=1.0, ge=0.1, le=10, description="divides the sigmoid's argument"
    )


class ModelSettings(Section):
    """The network."""

    backbone: Literal["tiny", "resnet18", "resnet34", "resnet50", "convnext_tiny"] = Field(
        default="resnet50", description="trunk that gives the feature map"
    )
    weights: str = Field(
        default="imagenet",
        min_length=1,
        description="`imagenet` (torchvision's), `none`, or a state dict's path or s3:// address",
    )
    norm: Literal["shared", "domain_specific"] = Field(
        default="shared",
        description="batch norms that both domains share, or a set for each of them",
    )
    pooling: Literal["average", "gem"] = Field(
        default="average", description="of the shared branch: mean, or GeM with a learned exponent"
    )
    attention: AttentionSettings = AttentionSettings()


class IdentityLossSettings(Section):
    """Source identities: cross-entropy on the shared branch."""

    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="share moved off the true label"
    )


class TripletLossSettings(Section):
    """Source identities: batch-hard triplets on the shared embedding."""

    weight: Weight = Field(default=1.0, description="weight of the loss; 0 leaves it out")
    margin: float = Field(default=0.3, ge=0, le=2, description="gap wanted, in cosine distance")
    embedding: Embedding = Field(
        default="pooled", description="what is compared: the pooled embedding, or the bottleneck's"
    )


class DomainSimilaritySettings(Section):
    """Pulls the shared embeddings of both domains to one nominal domain."""

    kind: Literal[
        "nominal_moment",
        "nominal_classifier",
        "soft_svdd",
        "domain_confusion",
        "gradient_reversal",
        "none",
    ] = Field(default="nominal_moment", description="which form of the loss")
    weight: Weight = Field(default=5.0, description="weight of the loss once ramped up")
    embedding: Embedding = Field(
        default="pooled",
        description="what is to look alike: the pooled embedding, or the bottleneck's",
    )
    spread_weight: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="gamma of nominal_moment: weight of the spreads against the means",
    )
    momentum: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        description="beta: what the nominal domain (of soft_svdd: the centre) keeps in a step",
    )
    quantile: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="share of the source's images inside the ball of soft_svdd",
    )


class DomainClassificationSettings(Section):
    """Has the specific branch tell the domains apart, so that it holds what does not transfer."""

    weight: Weight = Field(default=0.1, description="weight of the loss once ramped up")


class TargetLossSettings(Section):
    """Learns from the unlabelled target."""

    kind: Literal["soft_label", "exemplar", "cluster_triplet", "none"] = Field(
        default="soft_label", description="which form of the loss"
    )
    weight: Weight = Field(default=1.0, description="weight of the loss once ramped up")
    triplet_weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="weight of triplets of groups beside soft_label, before `weight`",
    )
    triplet_margin: float = Field(
        default=0.3, ge=0, le=2, description="gap wanted between groups, in cosine distance"
    )
    triplet_embedding: Embedding = Field(
        default="bottleneck",
        description="what triplets of groups compare, beside soft_label or as cluster_triplet",
    )
    num_exemplars: int = Field(
        default=6, ge=0, le=100, description="nearest images that exemplar pulls an image to"
    )
    exemplar_lone_epochs: int = Field(
        default=5, ge=0, description="first epochs of exemplar towards the image itself alone"
    )
    exemplar_momentum: float = Field(
        default=0.01, ge=0, lt=1, description="what an exemplar keeps in a step, times the epoch"
    )
    num_neighbours: int = Field(default=30, ge=2, le=200, description="k1 of the Jaccard distance")
    num_expansion: int = Field(default=6, ge=1, le=50, description="k2 of the Jaccard distance")
    eps: float = Field(default=0.6, gt=0, lt=1, description="radius of DBSCAN, a Jaccard distance")
    min_samples: int = Field(
        default=4, ge=2, le=100, description="neighbours that make a core point"
    )
    centre_cameras: bool = Field(
        default=True, description="subtract each camera's mean embedding before grouping"
    )
    temperature: float = Field(default=0.05, gt=0.001, le=10, description="tau of the prediction")
    target_temperature: float = Field(
        default=0.1, gt=0.001, le=10, description="tau of the soft target"
    )
    softness: float = Field(default=0.3, ge=0, le=1, description="share of the soft target")
    momentum: float = Field(
        default=0.2, ge=0, lt=1, description="what a group's centre keeps in a step"
    )

    @property
    def makes_groups(self) -> bool:
        """Whether the target's images are put into groups."""
        return self.kind in ("soft_label", "cluster_triplet") and self.weight > 0


class LossSettings(Section):
    """All losses; the weights of all but the source's own start after a warm-up and ramp up."""

    identity: IdentityLossSettings = IdentityLossSettings()
    triplet: TripletLossSettings = TripletLossSettings()
    domain_similarity: DomainSimilaritySettings = DomainSimilaritySettings()
    domain_classification: DomainClassificationSettings = DomainClassificationSettings()
    target: TargetLossSettings = TargetLossSettings()
    warmup_epochs: int = Field(default=2, ge=0, description="epochs of the source's losses alone")
    ramp_epochs: int = Field(
        default=2, ge=0, description="epochs in which the other weights rise to full"
    )

    @property
    def uses_target(self) -> bool:
        """Whether any loss looks at target images."""
        return (
            (self.target.kind != "none" and self.target.weight > 0)
            or (self.domain_similarity.kind != "none" and self.domain_similarity.weight > 0)
            or self.domain_classification.weight > 0
        )


class OptimiserSettings(Section):
    """Adam and its schedule."""

    learning_rate: float = Field(default=3.5e-4, gt=0, le=1, description="peak learning rate")
    weight_decay: float = Field(default=5e-4, ge=0, le=1, description="L2 penalty")
    num_epochs: int = Field(default=50, ge=1, description="epochs of the run")
    steps_per_epoch: int = Field(default=400, ge=1, description="batches in an epoch")
    warmup_epochs: float = Field(default=10.0, ge=0, description="epochs of linear warm-up")
    schedule: Literal["step", "cosine"] = Field(
        default="step", description="after warm-up: x 0.1 at 50 % and 80 %, or a cosine to zero"
    )


class EvaluationSettings(Section):
    """How embeddings are made for a test."""

    reestimate_norm: bool = Field(
        default=True,
        description="re-estimate batch-norm statistics on unlabelled target train images",
    )
    hold_out: bool = Field(
        default=False, description="keep the target's validation identities out of training"
    )
    embedding: Embedding = Field(
        default="bottleneck",
        description="what is tested and exported: the bottleneck's embedding, or the pooled one",
    )
    flip: bool = Field(
        default=False, description="average the embeddings of an image and its mirror"
    )
    batch_size: int = Field(default=128, ge=1, description="images in a forward pass")


class ComputeSettings(Section):
    """On what a run computes."""

    num_workers: int = Field(default=1, ge=1, le=4096, description="data-parallel workers")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU where one is"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the forward pass"
    )
    channels_last: bool = Field(default=True, description="memory format of images and weights")
    max_failures: int = Field(
        default=3, ge=0, description="times a run goes on after losing a worker"
    )


class TeacherSettings(Section):
    """A moving average of the network's weights, and what it is used for."""

    labels: bool = Field(default=False, description="its embeddings make the target's groups")
    embeds: bool = Field(default=False, description="it is what is tested and exported")
    momentum: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="what it keeps of itself in a step; less in the first steps",
    )

    @property
    def is_used(self) -> bool:
        """Whether a run has a teacher."""
        return self.labels or self.embeds


class RunConfig(Section):
    """One training run."""

    transfer: str = Field(default="plaza->campus", description="source->target")
    seed: int = Field(default=1, ge=0, lt=2**32, description="seed of everything random")
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    teacher: TeacherSettings = TeacherSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    compute: ComputeSettings = ComputeSettings()

    @model_validator(mode="after")
    def _agree(self) -> "RunConfig":
        try:
            Transfer.parse(self.transfer)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        for check in (check_batches, check_epochs, check_parts, check_losses):
            check(self)
        return self

    def pair(self) -> Transfer:
        """The transfer as source and target."""
        return Transfer.parse(self.transfer)

    def domains(self) -> tuple[str, ...]:
        """The domains whose images training reads: with the target's own labels it alone."""
        pair = self.pair()
        return (pair.target,) if self.data.oracle_labels else pair.domains()
