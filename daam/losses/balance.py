"""The mean in which both domains count the same. Shapes: B = images in the batch."""

import torch
from torch import Tensor


def mean_over_domains(values: Tensor, domains: Tensor) -> Tensor:
    """Mean over the domains in the batch of each one's mean: more images give no more weight.

    A batch without images gives 0.

    Args:
        values: (B,), what each image costs.
        domains: (B,) int64, 0 source, 1 target.
    """
    member_2B = domains == torch.arange(2, device=domains.device)[:, None]
    count_2 = member_2B.sum(dim=1)
    mean_2 = (member_2B * values).sum(dim=1) / count_2.clamp(min=1)
    return mean_2.sum() / (count_2 > 0).sum().clamp(min=1)
