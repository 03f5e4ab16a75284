"""The network that a run's settings describe."""

import hashlib
import io

from torch import nn

from daam.config.schema import RunConfig
from daam.model.attention import (
    Attention,
    ChannelAttention,
    FactorisedAttention,
    FullAttention,
    SpatialAttention,
)
from daam.model.backbone import (
    convnext_backbone,
    num_output_channels,
    resnet_backbone,
    split_last_stage,
    tiny_backbone,
)
from daam.model.heads import ConfusionHead, NominalHead, ReversalHead, SimilarityHead
from daam.model.network import DaamNetwork
from daam.model.norm import with_domain_norms
from daam.model.pooling import AveragePooling, GemPooling
from daam.model.weights import Weights, read_state_dict
from daam.storage import open_parent


def build_network(config: RunConfig, *, num_identities: int) -> DaamNetwork:
    """Make the network of a run, its weights on the CPU."""
    model = config.model
    backbone = backbone_of(config)
    num_channels = num_split = num_output_channels(backbone)
    branch_stage: nn.Module | None = None
    if model.attention.kind != "none" and model.attention.placement == "before_last":
        backbone, branch_stage = split_last_stage(backbone)
        num_split = num_output_channels(backbone)
    network = DaamNetwork(
        backbone,
        num_channels=num_channels,
        num_identities=num_identities,
        attention=attention_of(config, num_channels=num_split),
        branch_stage=branch_stage,
        pooling=GemPooling() if model.pooling == "gem" else AveragePooling(),
        similarity_head=similarity_head_of(config, num_channels=num_channels),
        similarity_embedding=config.loss.domain_similarity.embedding,
        retrieval_embedding=config.evaluation.embedding,
    )
    if model.norm == "domain_specific":
        with_domain_norms(network, domains=network.batch_domains)
    return network


def digest_of(network: nn.Module) -> str:
    """Return the SHA-256 of a network's state on the CPU: its names, shapes, types and values."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().numpy())
    return digest.hexdigest()


def backbone_of(config: RunConfig) -> nn.Sequential:
    """Make the trunk, with the weights it starts from."""
    match config.model.backbone:
        case "tiny":
            return tiny_backbone()
        case "convnext_tiny":
            return convnext_backbone(weights=weights_of(config))
        case name:
            return resnet_backbone(name, weights=weights_of(config))


def weights_of(config: RunConfig) -> Weights:
    """Name the weights a trunk starts from, or read those that lie in an object store."""
    weights = config.model.weights
    if not weights.startswith("s3://"):
        return weights
    store, key = open_parent(weights)
    return read_state_dict(io.BytesIO(store.read(key)), where=weights)


def attention_of(config: RunConfig, *, num_channels: int) -> Attention | None:
    """Make the map that splits the features, or None."""
    settings = config.model.attention
    reduction, bias = settings.reduction, settings.initial_bias
    kernel, temperature = settings.kernel, settings.temperature
    match settings.kind:
        case "factorised":
            return FactorisedAttention(
                num_channels,
                reduction=reduction,
                initial_bias=bias,
                kernel=kernel,
                temperature=temperature,
            )
        case "channel":
            return ChannelAttention(
                num_channels, reduction=reduction, initial_bias=bias, temperature=temperature
            )
        case "spatial":
            return SpatialAttention(initial_bias=bias, kernel=kernel, temperature=temperature)
        case "full":
            return FullAttention(
                num_channels, reduction=reduction, initial_bias=bias, temperature=temperature
            )
        case "none":
            return None


def similarity_head_of(config: RunConfig, *, num_channels: int) -> SimilarityHead | None:
    """Make the head that a learned form of domain similarity needs, or None."""
    match config.loss.domain_similarity.kind:
        case "nominal_classifier":
            return NominalHead(num_channels)
        case "domain_confusion":
            return ConfusionHead(num_channels)
        case "gradient_reversal":
            return ReversalHead(num_channels)
        case _:
            return None
