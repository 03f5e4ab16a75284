"""The embedding part of a network as one module, preprocessing included.

Shapes: B = images, H = height, W = width, C = embedding width.
"""

import copy

import torch
from torch import Tensor, nn

from daam.dataset.pixels.normalise import IMAGENET_MEAN, IMAGENET_STD
from daam.model.network import DaamNetwork
from daam.model.norm import TARGET, with_plain_norms


class DeployedEmbedder(nn.Module):
    """Pixels to embeddings: (B, 3, H, W) float32 RGB of 0..255 to (B, C) float32 of length 1.

    A copy of the network on the CPU in eval mode, with the target's batch norms if each domain has
    its own. The parts that only training needs are left out: the identity classifier, the specific
    branch, the similarity head, and the bottleneck if the pooled embedding is used.

    Args:
        network: to copy; not changed.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: DaamNetwork) -> None:
        super().__init__()
        self.network = with_plain_norms(copy.deepcopy(network), domain=TARGET)
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
        """Return the embeddings of images; exported files use the argument's name."""
        return self.network.embed(images * self.scale + self.shift)
