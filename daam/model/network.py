"""The whole network: backbone, attention, shared and specific branch.

Shapes: B = images, S = the source images among them (they come first), C = channels,
I = source identities.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from daam.model.attention import FactorisedAttention, split_features
from daam.model.branches import SharedBranch, SpecificBranch


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutput:
    """What one forward pass gives; the specific part is None for a network without attention."""

    attention_BCHW: Tensor | None
    shared_BC: Tensor
    bottleneck_BC: Tensor
    identity_logits_SI: Tensor
    specific_BC: Tensor | None
    domain_logits_B2: Tensor | None


class DaamNetwork(nn.Module):
    """A backbone whose features are split into a domain-shared and a domain-specific part.

    Args:
        backbone: (B, 3, H, W) -> (B, C, h, w).
        num_channels: C.
        num_identities: I, of the source.
        attention: gives A(F), or None for a plain network whose features are all shared.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        num_channels: int,
        num_identities: int,
        attention: FactorisedAttention | None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.attention = attention
        self.shared = SharedBranch(num_channels, num_identities=num_identities)
        self.specific = None if attention is None else SpecificBranch(num_channels)

    def forward(self, images_BCHW: Tensor, *, num_source: int) -> ModelOutput:
        """Run one pass over a batch of both domains.

        Args:
            images_BCHW: normalised images, the source's first.
            num_source: S, how many of them are the source's.
        """
        features_BCHW = self.backbone(images_BCHW)
        attention_BCHW = specific_BC = domain_logits_B2 = None
        if self.attention is not None and self.specific is not None:
            attention_BCHW = self.attention(features_BCHW)
            features_BCHW, specific_BCHW = split_features(features_BCHW, attention_BCHW)
            specific_BC, domain_logits_B2 = self.specific(specific_BCHW)
        shared_BC, bottleneck_BC = self.shared(features_BCHW)
        return ModelOutput(
            attention_BCHW=attention_BCHW,
            shared_BC=shared_BC,
            bottleneck_BC=bottleneck_BC,
            identity_logits_SI=self.shared.classifier(bottleneck_BC[:num_source]),
            specific_BC=specific_BC,
            domain_logits_B2=domain_logits_B2,
        )

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """Return the embeddings used for retrieval: (B, C) float32, of length 1."""
        features_BCHW = self.backbone(images_BCHW)
        if self.attention is not None:
            features_BCHW, _ = split_features(features_BCHW, self.attention(features_BCHW))
        _, bottleneck_BC = self.shared(features_BCHW)
        return F.normalize(bottleneck_BC.float(), dim=1)

    def attention_maps(self, images_BCHW: Tensor) -> Tensor | None:
        """Return A(F), (B, C, h, w) in (0, 1), or None for a network without attention."""
        return None if self.attention is None else self.attention(self.backbone(images_BCHW))
