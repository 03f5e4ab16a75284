"""Settings become objects: the one place that reads the settings of a run's parts."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from daam.config.schema import RunConfig
from daam.data.cache import ShardCache
from daam.data.decode import PixelReader
from daam.data.images import ImageTable, open_images, read_identities
from daam.data.transforms import Augmentation
from daam.domains import WHOLE_TRAIN_SPLITS, Split
from daam.model.attention import FactorisedAttention
from daam.model.backbone import num_output_channels, resnet_backbone, tiny_backbone
from daam.model.network import DaamNetwork
from daam.storage import open_store
from daam.training.device import Compute, choose_compute
from daam.training.objective import Memory, Objective, Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRows:
    """The source: pixels, and for each row its identity (counted from 0) and camera."""

    reader: PixelReader
    identities: np.ndarray
    cameras: np.ndarray
    num_identities: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledRows:
    """The target: pixels and cameras. Its identities are in a file that training never opens."""

    reader: PixelReader
    cameras: np.ndarray


@dataclass(slots=True, kw_only=True)
class Run:
    """A run that can be trained: what it is made of, and how far it is."""

    config: RunConfig
    compute: Compute
    network: DaamNetwork
    optimiser: torch.optim.Optimizer
    objective: Objective
    augmentation: Augmentation
    source: LabelledRows
    target: UnlabelledRows
    memory: Memory = field(default_factory=Memory)
    num_epochs_done: int = 0


def assemble(config: RunConfig) -> Run:
    """Open the data and make the network of a run. All ranks make the same one.

    Raises:
        DaamError: a domain, its shards or the weights are missing or damaged, or there is no GPU
            and one was asked for.
    """
    transfer = config.pair()
    compute = compute_of(config)
    source = open_source(config, transfer.source)
    torch.manual_seed(config.seed)
    network = build_network(config, num_identities=source.num_identities)
    compute.place(network)
    loss = config.loss
    augmentation = config.data.augmentation
    return Run(
        config=config,
        compute=compute,
        network=network,
        optimiser=torch.optim.Adam(
            [weight for weight in network.parameters() if weight.requires_grad],
            lr=config.optimiser.learning_rate,
            weight_decay=config.optimiser.weight_decay,
        ),
        objective=Objective(
            label_smoothing=loss.identity.label_smoothing,
            triplet_margin=loss.triplet.margin,
            nominal_spread_weight=loss.domain_similarity.spread_weight,
            nominal_momentum=loss.domain_similarity.momentum,
            target_temperature=loss.target.temperature,
            soft_target_temperature=loss.target.target_temperature,
            target_softness=loss.target.softness,
            centre_momentum=loss.target.momentum,
        ),
        augmentation=Augmentation(**augmentation.model_dump()),
        source=source,
        target=open_target(config, transfer.target),
    )


def build_network(config: RunConfig, *, num_identities: int) -> DaamNetwork:
    """Make the network of a run, its weights on the CPU."""
    model = config.model
    if model.backbone == "tiny":
        backbone = tiny_backbone()
    else:
        backbone = resnet_backbone(model.backbone, weights=model.weights)
    num_channels = num_output_channels(backbone)
    attention = None
    if model.attention.kind == "factorised":
        attention = FactorisedAttention(
            num_channels,
            reduction=model.attention.reduction,
            initial_bias=model.attention.initial_bias,
            kernel=model.attention.kernel,
            temperature=model.attention.temperature,
        )
    return DaamNetwork(
        backbone, num_channels=num_channels, num_identities=num_identities, attention=attention
    )


def compute_of(config: RunConfig) -> Compute:
    """Where and how the run computes."""
    return choose_compute(
        device=config.compute.device,
        precision=config.compute.precision,
        channels_last=config.compute.channels_last,
    )


def weights_at(config: RunConfig, *, epoch: int) -> Weights:
    """How much each loss counts in an epoch (from 0): nothing at first, then more, then all."""
    loss = config.loss
    since_warmup = epoch - loss.warmup_epochs + 1
    ramp = min(1.0, max(0.0, since_warmup / (loss.ramp_epochs + 1)))
    return Weights(
        triplet=loss.triplet.weight,
        domain_similarity=ramp * loss.domain_similarity.weight
        if loss.domain_similarity.kind != "none"
        else 0.0,
        domain_classification=ramp * loss.domain_classification.weight,
        target=ramp * loss.target.weight if loss.target.kind != "none" else 0.0,
    )


def learning_rate_at(config: RunConfig, *, step: int) -> float:
    """The learning rate of a step (from 0) of the whole run: warm-up, then steps or a cosine."""
    optimiser = config.optimiser
    epochs = (step + 1) / optimiser.steps_per_epoch
    rate = optimiser.learning_rate
    if epochs < optimiser.warmup_epochs:
        return rate * epochs / optimiser.warmup_epochs
    done = step / (optimiser.num_epochs * optimiser.steps_per_epoch)
    if optimiser.schedule == "step":
        return rate * 0.1 ** ((done >= 0.5) + (done >= 0.8))
    warm = min(1.0, optimiser.warmup_epochs / optimiser.num_epochs)
    share = 0.0 if warm == 1.0 else (done - warm) / (1 - warm)
    return float(rate * 0.5 * (1 + np.cos(np.pi * min(1.0, max(0.0, share)))))


def open_source(config: RunConfig, domain: str) -> LabelledRows:
    """Open a domain with its labels; its identities are renumbered from 0."""
    store, cache = open_store(config.data.root), shard_cache(config)
    images = open_images(store, domain=domain, splits=WHOLE_TRAIN_SPLITS, cache=cache)
    identities = read_identities(store, domain=domain, splits=WHOLE_TRAIN_SPLITS, cache=cache)
    known, numbered = np.unique(identities, return_inverse=True)
    return LabelledRows(
        reader=pixel_reader(config, images),
        identities=numbered.astype(np.int64),
        cameras=images.cameras,
        num_identities=len(known),
    )


def open_target(config: RunConfig, domain: str) -> UnlabelledRows:
    """Open a domain without its labels."""
    splits = (Split.TRAIN,) if config.evaluation.hold_out else WHOLE_TRAIN_SPLITS
    images = open_images(
        open_store(config.data.root), domain=domain, splits=splits, cache=shard_cache(config)
    )
    return UnlabelledRows(reader=pixel_reader(config, images), cameras=images.cameras)


def shard_cache(config: RunConfig) -> ShardCache:
    """The node's cache of shards."""
    return ShardCache(Path(config.data.cache).expanduser())


def pixel_reader(config: RunConfig, images: ImageTable) -> PixelReader:
    """Read a domain's images at the run's size."""
    return PixelReader(images, height=config.data.height, width=config.data.width)
