"""Batch-hard triplet loss. Shapes: B = images in the batch, D = embedding width."""

import torch
from torch import Tensor
from torch.nn.functional import relu

from daam.losses.precision import in_float32


@in_float32
def batch_hard_triplet(embeddings: Tensor, identities: Tensor, *, margin: float) -> Tensor:
    """Pull each image to its furthest same-identity image, push it from its nearest other.

    Source: Hermans et al. 2017, arXiv:1703.07737, batch-hard variant. Ours uses cosine distance
    and averages only over anchors that have both a positive and a negative. Groups can take
    the place of identities: an image of group -1 (an outlier) is neither anchor nor positive nor
    negative, since its identity is unknown. Without a usable anchor the loss is 0.

    Args:
        embeddings: (B, D), L2-normalised; computed in float32.
        identities: (B,) int64, the identity or group of each image; negative if unknown.
        margin: required gap between the two, in cosine distance (0 to 2).
    """
    if len(embeddings) == 0:
        return embeddings.sum()
    distance_BB = 1 - embeddings @ embeddings.T
    known_B = identities >= 0
    known_BB = known_B[:, None] & known_B[None, :]
    same_BB = identities[:, None] == identities[None, :]
    itself_BB = torch.eye(len(identities), dtype=torch.bool, device=same_BB.device)
    positive_BB = known_BB & same_BB & ~itself_BB
    negative_BB = known_BB & ~same_BB

    furthest_B = distance_BB.masked_fill(~positive_BB, -torch.inf).amax(dim=1)
    nearest_B = distance_BB.masked_fill(~negative_BB, torch.inf).amin(dim=1)
    usable_B = positive_BB.any(dim=1) & negative_BB.any(dim=1)

    violation_B = relu(furthest_B - nearest_B + margin)
    return torch.where(usable_B, violation_B, 0).sum() / usable_B.sum().clamp(min=1)
