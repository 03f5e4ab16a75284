"""The teacher: a moving average of the network's weights.

Source: Tarvainen and Valpola 2017, arXiv:1703.01780.
"""

import copy

import torch

from daam.model.network import DaamNetwork


def teacher_of(network: DaamNetwork) -> DaamNetwork:
    """Return a copy without gradients, in eval mode."""
    return copy.deepcopy(network).eval().requires_grad_(False)  # noqa: FBT003  (torch's signature)


@torch.no_grad()
def update_teacher(teacher: DaamNetwork, network: DaamNetwork, *, momentum: float) -> None:
    """teacher <- momentum teacher + (1 - momentum) network, for every parameter; in place.

    Batch-norm statistics are copied: an average of variances is not the variance of an average.
    """
    for kept, weight in zip(teacher.parameters(), network.parameters(), strict=True):
        kept.lerp_(weight, 1 - momentum)
    for kept, buffer in zip(teacher.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)
