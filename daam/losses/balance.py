"""A mean that weighs both domains equally. Shapes: B = images in the batch."""

import torch
from torch import Tensor


def mean_over_domains(values: Tensor, domains: Tensor) -> Tensor:
    """The mean over the domains in the batch of the mean of each.

    So a domain with more images gets no more weight.

    A batch without images gives 0.

    Args:
        values: (B,), the loss of each image.
        domains: (B,) int64, 0 source, 1 target.
    """
    member_2B = domains == torch.arange(2, device=domains.device)[:, None]
    count_2 = member_2B.sum(dim=1)
    mean_2 = (member_2B * values).sum(dim=1) / count_2.clamp(min=1)
    return mean_2.sum() / (count_2 > 0).sum().clamp(min=1)
