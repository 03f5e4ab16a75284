"""A network of every kind, with batch-norm statistics that are not those of the start."""

from collections.abc import Callable

import torch

from daam.model.attention import (
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
from daam.model.heads import ConfusionHead, NominalHead
from daam.model.network import DaamNetwork
from daam.model.norm import with_domain_norms
from daam.model.pooling import GemPooling

NUM_IDENTITIES = 5


def network_of(kind: str, *, height: int = 32, width: int = 16) -> DaamNetwork:
    """Make one of KINDS; it has seen a few batches of random images."""
    torch.manual_seed(0)
    network = KINDS[kind]()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for images_BCHW in torch.rand(2, 8, 3, height, width, generator=generator):
            network(images_BCHW, num_source=4)
    return network


def factorised() -> DaamNetwork:
    attention = FactorisedAttention(128, reduction=4, initial_bias=1.0, kernel=3, temperature=1.0)
    return DaamNetwork(
        tiny_backbone(),
        num_channels=128,
        num_identities=NUM_IDENTITIES,
        attention=attention,
        similarity_head=NominalHead(128),
    )


def without_attention() -> DaamNetwork:
    return DaamNetwork(
        tiny_backbone(), num_channels=128, num_identities=NUM_IDENTITIES, attention=None
    )


def channel_and_gem() -> DaamNetwork:
    return DaamNetwork(
        tiny_backbone(),
        num_channels=128,
        num_identities=NUM_IDENTITIES,
        attention=ChannelAttention(128, reduction=4, initial_bias=1.0, temperature=2.0),
        pooling=GemPooling(),
        similarity_head=ConfusionHead(128),
    )


def tested_on_the_pooled_embedding() -> DaamNetwork:
    return DaamNetwork(
        tiny_backbone(),
        num_channels=128,
        num_identities=NUM_IDENTITIES,
        attention=ChannelAttention(128, reduction=4, initial_bias=1.0, temperature=2.0),
        retrieval_embedding="pooled",
    )


def domain_specific_norm() -> DaamNetwork:
    network = DaamNetwork(
        tiny_backbone(),
        num_channels=128,
        num_identities=NUM_IDENTITIES,
        attention=SpatialAttention(initial_bias=1.0, kernel=5, temperature=1.0),
    )
    return with_domain_norms(network, domains=network.batch_domains)


def full_before_the_last_stage() -> DaamNetwork:
    trunk, stage = split_last_stage(tiny_backbone())
    num_channels = num_output_channels(trunk)
    return DaamNetwork(
        trunk,
        num_channels=128,
        num_identities=NUM_IDENTITIES,
        attention=FullAttention(num_channels, reduction=4, initial_bias=1.0, temperature=1.0),
        branch_stage=stage,
    )


def resnet() -> DaamNetwork:
    return DaamNetwork(
        resnet_backbone("resnet18", weights="none"),
        num_channels=512,
        num_identities=NUM_IDENTITIES,
        attention=None,
    )


def convnext() -> DaamNetwork:
    return DaamNetwork(
        convnext_backbone(weights="none"),
        num_channels=768,
        num_identities=NUM_IDENTITIES,
        attention=None,
    )


KINDS: dict[str, Callable[[], DaamNetwork]] = {
    "factorised": factorised,
    "without attention": without_attention,
    "channel attention, GeM": channel_and_gem,
    "tested on the pooled embedding": tested_on_the_pooled_embedding,
    "domain-specific norm": domain_specific_norm,
    "full attention before the last stage": full_before_the_last_stage,
    "resnet18": resnet,
    "convnext_tiny": convnext,
}
