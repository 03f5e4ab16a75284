"""The whole network: backbone, attention, shared and specific branch.

Shapes: B = images, S = the source images among them (they come first), C = channels,
I = source identities.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daam.errors import ConfigError
from daam.model.attention import Attention
from daam.model.branches import Embedding, SharedBranch, SpecificBranch
from daam.model.heads import NominalHead, SimilarityHead
from daam.model.norm import TARGET, BatchDomains
from daam.model.pooling import AveragePooling, mean_over_positions


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutput:
    """The output of a forward pass; the specific part is None without attention."""

    features_BCHW: Tensor
    """F, the feature map that the attention splits, where the gradients of all losses meet."""
    attention_BCHW: Tensor | None
    """A(F), of the shape of F."""
    shared_BC: Tensor
    bottleneck_BC: Tensor
    identity_logits_SI: Tensor
    specific_BC: Tensor | None
    domain_logits_B2: Tensor | None
    similarity_logits: tuple[Tensor, Tensor | None] | None
    """The output of the similarity head, None without one. `NominalHead`: (B, 3) of the shared and
    (B, 3) of the specific part. `ConfusionHead`: (B, 2) that train the head and (B, 2) that train
    the embedding. `ReversalHead`: (B, 2) and None."""

    def embedding(self, which: Embedding) -> Tensor:
        """Return one of the shared branch's embeddings, (B, C), not normalised."""
        return self.shared_BC if which == "pooled" else self.bottleneck_BC


class DaamNetwork(nn.Module):
    """A backbone whose features are split into a domain-shared and a domain-specific part.

    Args:
        backbone: (B, 3, H, W) -> (B, C', h', w'), the map F that the attention splits.
        num_channels: C, of the feature map that the branches pool; C' without a branch stage.
        num_identities: I, of the source.
        attention: computes A(F); None for a plain network whose features are all shared.
        branch_stage: (B, C', h', w') -> (B, C, h, w), a last stage that each branch runs on its
            part. The shared branch uses this one. The specific branch uses a copy with its own
            weights at half the height and width, a quarter of the cost, which is enough to tell
            domains apart.
        pooling: (B, C, h, w) -> (B, C) of the shared branch, by default the average. The specific
            branch always uses the average.
        similarity_head: for a learned form of domain similarity.
        similarity_embedding: the input of that head.
        retrieval_embedding: what `embed` returns.

    Raises:
        ConfigError: a nominal head without attention has no specific part to classify.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        num_channels: int,
        num_identities: int,
        attention: Attention | None,
        branch_stage: nn.Module | None = None,
        pooling: nn.Module | None = None,
        similarity_head: SimilarityHead | None = None,
        similarity_embedding: Embedding = "pooled",
        retrieval_embedding: Embedding = "bottleneck",
    ) -> None:
        super().__init__()
        if isinstance(similarity_head, NominalHead) and attention is None:
            raise ConfigError(
                "the nominal classifier compares the shared with the specific part, and without "
                "attention there is none; use another form of domain similarity or turn attention "
                "on (model.attention.kind)"
            )
        self.batch_domains = BatchDomains()
        self.backbone = backbone
        self.attention = attention
        self.shared_stage = branch_stage
        self.shared = SharedBranch(
            num_channels,
            num_identities=num_identities,
            pooling=AveragePooling() if pooling is None else pooling,
        )
        self.specific_stage = None
        self.specific = None
        if attention is not None:
            self.specific = SpecificBranch(num_channels)
            if branch_stage is not None:
                self.specific_stage = nn.Sequential(
                    nn.AvgPool2d(2, ceil_mode=True), copy.deepcopy(branch_stage)
                )
        self.similarity_head = similarity_head
        self.similarity_embedding: Embedding = similarity_embedding
        self.retrieval_embedding: Embedding = retrieval_embedding

    def forward(self, images_BCHW: Tensor, *, num_source: int) -> ModelOutput:
        """Run one pass over a batch of both domains.

        Args:
            images_BCHW: normalised images, source images first.
            num_source: S, the number of source images.
        """
        self.batch_domains.set_source_first(num_source, num_images=len(images_BCHW))
        features_BCHW = self.backbone(images_BCHW)
        attention_BCHW = specific_BC = domain_logits_B2 = None
        shared_BCHW = features_BCHW
        if self.attention is not None:
            attention_BCHW = self.attention(features_BCHW)
            shared_BCHW = attention_BCHW * features_BCHW
            attention_BCHW = attention_BCHW.expand_as(features_BCHW)
        shared_BC, bottleneck_BC = self.pooled_shared(shared_BCHW)
        if self.specific is not None:
            specific_BC = self.pooled_specific(features_BCHW, shared_BCHW, shared_BC)
            domain_logits_B2 = self.specific(specific_BC)
        return ModelOutput(
            features_BCHW=features_BCHW,
            attention_BCHW=attention_BCHW,
            shared_BC=shared_BC,
            bottleneck_BC=bottleneck_BC,
            identity_logits_SI=self.shared.classifier(bottleneck_BC[:num_source]),
            specific_BC=specific_BC,
            domain_logits_B2=domain_logits_B2,
            similarity_logits=self.similarity_logits(
                shared_BC if self.similarity_embedding == "pooled" else bottleneck_BC, specific_BC
            ),
        )

    def embed(
        self,
        images_BCHW: Tensor,
        *,
        domain: int | Tensor = TARGET,
        embedding: Embedding | None = None,
    ) -> Tensor:
        """Return the embeddings of images: (B, C) float32, L2-normalised.

        Args:
            images_BCHW: normalised images.
            domain: whose batch norms to use if each domain has its own, 0 source or 1 target; (B,)
                int64 for a batch of both.
            embedding: which one; by default the one for retrieval.
        """
        features_BCHW = self.features_of(images_BCHW, domain=domain)
        if self.attention is not None:
            features_BCHW = self.attention(features_BCHW) * features_BCHW
        pooled_BC, bottleneck_BC = self.pooled_shared(features_BCHW)
        which = self.retrieval_embedding if embedding is None else embedding
        return F.normalize((pooled_BC if which == "pooled" else bottleneck_BC).float(), dim=1)

    def attention_maps(self, images_BCHW: Tensor, *, domain: int = TARGET) -> Tensor | None:
        """Return A(F), of the shape of F and in (0, 1); None for a network without attention."""
        if self.attention is None:
            return None
        features_BCHW = self.features_of(images_BCHW, domain=domain)
        return self.attention(features_BCHW).expand_as(features_BCHW)

    def features_of(self, images_BCHW: Tensor, *, domain: int | Tensor) -> Tensor:
        """Return F of images of one domain, or of the domain given for each image."""
        if isinstance(domain, Tensor):
            self.batch_domains.set_each(domain)
        else:
            # Not `len`, which would make the batch size a constant of an exported network.
            self.batch_domains.set_all(domain, num_images=images_BCHW.shape[0])
        return self.backbone(images_BCHW)

    def pooled_shared(self, shared_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shared branch's pooled embedding and bottleneck, both (B, C)."""
        if self.shared_stage is not None:
            shared_BCHW = self.shared_stage(shared_BCHW)
        return self.shared(shared_BCHW)

    def pooled_specific(
        self, features_BCHW: Tensor, shared_BCHW: Tensor, shared_BC: Tensor
    ) -> Tensor:
        """Return the pooled specific features, (B, C)."""
        if self.specific_stage is not None:
            return mean_over_positions(self.specific_stage(features_BCHW - shared_BCHW))
        if not isinstance(self.shared.pooling, AveragePooling):
            shared_BC = mean_over_positions(shared_BCHW)
        # The mean of F - F_sh, without computing that map.
        return mean_over_positions(features_BCHW) - shared_BC

    def similarity_logits(
        self, embeddings_BC: Tensor, specific_BC: Tensor | None
    ) -> tuple[Tensor, Tensor | None] | None:
        """Return the output of the similarity head, always computed in float32."""
        if self.similarity_head is None:
            return None
        with torch.autocast(embeddings_BC.device.type, enabled=False):
            unit_BC = F.normalize(embeddings_BC.float(), dim=1)
            if isinstance(self.similarity_head, NominalHead):
                if specific_BC is None:
                    raise AssertionError("a network with a nominal head has attention")
                return self.similarity_head(unit_BC, F.normalize(specific_BC.float(), dim=1))
            return self.similarity_head(unit_BC)
