"""The two branches after the attention. Shapes: B = images, C = channels, I = identities."""

from typing import Literal

from torch import Tensor, nn

Embedding = Literal["pooled", "bottleneck"]
"""An embedding of the shared branch: g after pooling, or b after the bottleneck norm."""


class SharedBranch(nn.Module):
    """Embedding, bottleneck norm and a linear identity classifier, on the shared features.

    The norm between the embedding and the classifier (BNNeck, Luo et al. 2019, arXiv:1903.07071)
    lets metric losses and the cross-entropy each work in the space that suits them.

    Args:
        num_channels: C.
        num_identities: I, of the source.
        pooling: (B, C, H, W) -> (B, C).
    """

    def __init__(self, num_channels: int, *, num_identities: int, pooling: nn.Module) -> None:
        super().__init__()
        self.pooling = pooling
        self.bottleneck = nn.BatchNorm1d(num_channels)
        self.bottleneck.bias.requires_grad_(False)  # noqa: FBT003  (torch's own signature)
        self.classifier = nn.Linear(num_channels, num_identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, shared_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled embedding g and the bottleneck's b, both (B, C)."""
        pooled_BC = self.pooling(shared_BCHW)
        return pooled_BC, self.bottleneck(pooled_BC)


class SpecificBranch(nn.Module):
    """A domain classifier on the specific features. Never used for retrieval."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        num_hidden = max(16, num_channels // 4)
        self.layers = nn.Sequential(
            nn.Linear(num_channels, num_hidden), nn.ReLU(inplace=True), nn.Linear(num_hidden, 2)
        )

    def forward(self, specific_BC: Tensor) -> Tensor:
        """Return domain logits (B, 2) from pooled specific features (B, C)."""
        return self.layers(specific_BC)
