"""All settings of a run: defaults, ranges and meanings.

The models are frozen and strict, and refuse unknown settings. No other file of daam holds the
default of a setting.
"""

from typing import Literal

from pydantic import Field, model_validator

from daam.config.agreement import check_epochs, check_losses, check_parts, check_workers
from daam.config.losses import LossSettings
from daam.config.section import Embedding, Section, Share
from daam.domains import Transfer
from daam.errors import ConfigError


class AugmentationSettings(Section):
    """Random changes to training images."""

    flip: Share = Field(default=0.5, description="probability of a left-right flip")
    pad: int = Field(
        default=10,
        ge=0,
        description="pixels of padding on each side before the random crop back to the image size",
    )
    erase: Share = Field(default=0.5, description="probability that a random rectangle is erased")
    brightness: Share = Field(
        default=0.0, description="largest relative change of brightness; 0 leaves it unchanged"
    )
    contrast: Share = Field(
        default=0.0, description="largest relative change of contrast; 0 leaves it unchanged"
    )
    saturation: Share = Field(
        default=0.0, description="largest relative change of saturation; 0 leaves it unchanged"
    )


class DataSettings(Section):
    """Where images come from, and how they are batched."""

    root: str = Field(
        default="data/rendered",
        min_length=1,
        description="folder or s3://bucket/prefix that holds the domains",
    )
    cache: str = Field(
        default="~/.cache/daam",
        min_length=1,
        description="folder on each machine that caches images of a remote store",
    )
    cache_gb: float = Field(
        default=50.0,
        ge=0,
        description="size limit of the cache in GB (10^9 bytes), shared by all runs on the "
        "machine; the least recently used shards are evicted; 0 caches nothing",
    )
    oracle_labels: bool = Field(
        default=False,
        description="train on the target's own labels instead of the source's: an upper bound "
        "for comparison, not adaptation",
    )
    height: int = Field(default=256, ge=16, le=1024, description="image height in pixels")
    width: int = Field(default=128, ge=8, le=1024, description="image width in pixels")
    identities_per_batch: int = Field(
        default=16, ge=2, description="P, identities in a P x K source batch, over all workers"
    )
    images_per_identity: int = Field(
        default=4,
        ge=2,
        description="K, images per identity in a P x K source batch and per group in a target "
        "batch",
    )
    target_batch_size: int = Field(
        default=64, ge=2, description="unlabelled target images per batch, over all workers"
    )
    num_threads: int = Field(default=2, ge=1, le=64, description="decoding threads per worker")
    decode: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="device that decodes JPEGs for training; auto is cpu, whose pixels are "
        "identical on every machine, while a GPU decodes colour edges differently. "
        "Scoring always decodes on the CPU",
    )
    augmentation: AugmentationSettings = AugmentationSettings()


class AttentionSettings(Section):
    """The map A that splits features: shared = A(F) * F, specific = F - shared."""

    kind: Literal["factorised", "channel", "spatial", "full", "none"] = Field(
        default="factorised",
        description="what the attention map A varies over: factorised is channels plus "
        "positions, full is both jointly; none makes all features shared",
    )
    placement: Literal["last", "before_last"] = Field(
        default="last",
        description="feature map that A splits: the last stage's output, or its input, with the "
        "last stage then run on each branch",
    )
    reduction: int = Field(
        default=16,
        ge=1,
        le=64,
        description="squeeze ratio of the channel attention: C channels are squeezed to C / "
        "reduction",
    )
    initial_bias: float = Field(
        default=1.0,
        ge=-4,
        le=6,
        description="initial bias before the sigmoid; 1 starts A near 0.73",
    )
    kernel: Literal[1, 3, 5, 7] = Field(
        default=3, description="kernel size of the spatial attention"
    )
    temperature: float = Field(
        default=1.0,
        ge=0.1,
        le=10,
        description="divides the logits before the sigmoid; above 1 softens A, below 1 sharpens it",
    )


class ModelSettings(Section):
    """The network."""

    backbone: Literal["tiny", "resnet18", "resnet34", "resnet50", "convnext_tiny"] = Field(
        default="resnet50", description="network that computes the feature map"
    )
    weights: str = Field(
        default="imagenet",
        min_length=1,
        description="initial weights of the backbone: `imagenet` (from torchvision), `none` for "
        "random ones, or the path or s3:// address of a state dict or checkpoint, also of another "
        "re-ID project",
    )
    norm: Literal["shared", "domain_specific"] = Field(
        default="shared",
        description="batch norm layers shared by both domains, or a separate set per domain",
    )
    pooling: Literal["average", "gem"] = Field(
        default="average",
        description="pooling of the shared branch: mean, or generalised mean (GeM) with a "
        "learned exponent",
    )
    attention: AttentionSettings = AttentionSettings()


class OptimiserSettings(Section):
    """Adam and its learning rate schedule."""

    learning_rate: float = Field(
        default=3.5e-4, gt=0, le=1, description="peak learning rate of Adam"
    )
    adaptation_rate: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="factor on the learning rate after the source stage (`loss.warmup_epochs`), in "
        "runs that use the target; unlike learning_rate it leaves the source stage as it is",
    )
    weight_decay: float = Field(
        default=5e-4, ge=0, le=1, description="L2 penalty added to the gradients"
    )
    num_epochs: int = Field(default=50, ge=1, description="epochs of the run")
    steps_per_epoch: int = Field(default=400, ge=1, description="optimiser steps per epoch")
    warmup_epochs: float = Field(
        default=10.0,
        ge=0,
        description="epochs in which the learning rate rises linearly from near 0 to its peak",
    )
    schedule: Literal["step", "cosine"] = Field(
        default="step",
        description="learning rate after the warm-up: multiplied by 0.1 at 50 % and 80 % of the "
        "epochs, or a cosine down to 0",
    )


class EvaluationSettings(Section):
    """How test images are embedded."""

    reestimate_norm: bool = Field(
        default=True,
        description="re-estimate batch norm statistics on unlabelled target train images before "
        "a test",
    )
    hold_out: bool = Field(
        default=False, description="exclude the target's validation identities from training"
    )
    embedding: Embedding = Field(
        default="bottleneck",
        description="embedding that is tested and exported: after pooling, or after the bottleneck",
    )
    flip: bool = Field(
        default=False,
        description="average the embeddings of each image and its mirror image, at twice the cost",
    )
    batch_size: int = Field(default=128, ge=1, description="images per forward pass of a test")


class ComputeSettings(Section):
    """Hardware, precision and parallelism."""

    num_workers: int = Field(
        default=1, ge=1, le=4096, description="data-parallel workers, one process each"
    )
    min_workers: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="of them, how many a run needs to go on while hosts are missing; 0: all",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="device of the network; auto uses a GPU if there is one"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="precision of the forward pass; losses and weights stay float32",
    )
    channels_last: bool = Field(
        default=True,
        description="store images and convolution weights channels-last, which is usually faster",
    )
    max_failures: int = Field(
        default=3,
        ge=0,
        description="times that a run restarts from its last checkpoint after losing a worker",
    )


class TeacherSettings(Section):
    """A teacher: an exponential moving average of the network's weights."""

    labels: bool = Field(
        default=False, description="make the target's groups from the teacher's embeddings"
    )
    embeds: bool = Field(
        default=False, description="test and export the teacher instead of the network"
    )
    momentum: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="share of the teacher kept at each step; the first steps use less",
    )

    @property
    def is_used(self) -> bool:
        """Whether a run has a teacher."""
        return self.labels or self.embeds


class RunConfig(Section):
    """One training run."""

    transfer: str = Field(
        default="plaza->campus",
        description="source and target domain, as source->target; several sources as a+b->target",
    )
    stage: Literal["all", "source"] = Field(
        default="all",
        description="what to train: all, or only the source: the run then ends after "
        "loss.warmup_epochs, and others can start from it (`daam train --from`)",
    )
    seed: int = Field(
        default=1,
        ge=0,
        lt=2**32,
        description="seed of all random numbers; the same seed gives the same run",
    )
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
        for check in (check_workers, check_epochs, check_parts, check_losses):
            check(self)
        return self

    @property
    def num_epochs(self) -> int:
        """The epochs that are trained: all, or those of the source stage."""
        return self.loss.warmup_epochs if self.stage == "source" else self.optimiser.num_epochs

    def pair(self) -> Transfer:
        """The transfer as source and target."""
        return Transfer.parse(self.transfer)

    def domains(self) -> tuple[str, ...]:
        """The domains whose images training reads; with oracle labels only the target."""
        pair = self.pair()
        return (pair.target,) if self.data.oracle_labels else pair.domains()
