"""Domain classification on the specific branch. Shapes: B = images in the batch of both domains."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from daam.loss.precision import in_float32


@in_float32
def domain_classification_loss(logits: Tensor, domains: Tensor) -> Tensor:
    """Make the specific branch hold what tells the domains apart: a balanced cross-entropy.

    L = mean over the domains d in the batch of (mean over images of d of -log p_d), so that the
    domain with more images does not decide. A batch without images gives 0.

    Args:
        logits: (B, 2), of the 2-way domain head; computed in float32.
        domains: (B,) int64, 0 source, 1 target.
    """
    member_2B = domains == torch.arange(2, device=domains.device)[:, None]
    count_2 = member_2B.sum(dim=1)
    entropy_B = cross_entropy(logits, domains, reduction="none")
    mean_2 = (member_2B * entropy_B).sum(dim=1) / count_2.clamp(min=1)
    return mean_2.sum() / (count_2 > 0).sum().clamp(min=1)
