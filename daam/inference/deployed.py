"""The part of a network that embeds, as one module with its preprocessing inside.

Shapes: B = images, H = height, W = width, C = embedding width.
"""

import copy

import torch
from torch import Tensor, nn

from daam.dataset.pixels.normalise import IMAGENET_MEAN, IMAGENET_STD
from daam.model.network import DaamNetwork
from daam.model.norm import TARGET, plain


class DeployedEmbedder(nn.Module):
    """Pixels to embeddings: (B, 3, H, W) float32 RGB of 0..255 to (B, C) float32 of length 1.

    A copy of the network on the CPU, in eval mode, with the target's batch norms where each domain
    has its own, and without what only training needs: the identity classifier, the specific branch
    and the similarity head stay behind, and the bottleneck where the pooled embedding is tested.

    Args:
        network: whose `embed` it gives; not changed.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: DaamNetwork) -> None:
        super().__init__()
        self.network = plain(copy.deepcopy(network), domain=TARGET)
        self.network.shared.classifier = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        if network.retrieval_embedding == "pooled":
            self.network.shared.bottleneck = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.network.specific = self.network.specific_stage = self.network.similarity_head = None
        mean_311, std_311 = (
            torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.register_buffer("scale", 1 / (255 * std_311))
        self.register_buffer("shift", -mean_311 / std_311)
        self.to("cpu").to(memory_format=torch.contiguous_format)
        self.eval().requires_grad_(False)  # noqa: FBT003  (torch's own signature)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings of images, named as in the files that are exported."""
        return self.network.embed(images * self.scale + self.shift)
