"""Group centres: one unit vector per group, updated every step.

Shapes: N = images of the target's train split, B = images of one step, D = embedding width,
K = groups. Pure functions: ranks that pass the same gathered batch get the same centres. Sums
use sorted segments instead of scatter-add, whose order, and so rounding, varies on a GPU.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


@torch.no_grad()
def initial_centres(embeddings: Tensor, groups: Tensor, *, num_groups: int) -> Tensor:
    """(K, D) float32: the mean direction of each group, L2-normalised; 0 for an empty group.

    Args:
        embeddings: (N, D), L2-normalised.
        groups: (N,) int64, 0 to K - 1, or -1 for an outlier, which is ignored.
        num_groups: K.
    """
    mean_KD, _ = mean_by_group(embeddings, groups, num_groups=num_groups)
    return normalize(mean_KD, dim=1)


@torch.no_grad()
def update_centres(
    centres: Tensor, embeddings: Tensor, groups: Tensor, *, momentum: float
) -> Tensor:
    """(K, D): the centres after a step; groups without an image in the batch keep theirs.

    c_k <- normalise(momentum c_k + (1 - momentum) mean of the batch's embeddings of group k): one
    update per group and step, independent of the order of the batch. (Cluster-Contrast,
    arXiv:2103.11568, updates a centre once per image in turn, which favours the last one.)

    Args:
        centres: (K, D), L2-normalised.
        embeddings: (B, D), L2-normalised, of the whole step, gathered from all ranks.
        groups: (B,) int64, 0 to K - 1, or -1 for an outlier, which is ignored.
        momentum: share of the old centre that is kept, 0 to 1.
    """
    mean_KD, present_K = mean_by_group(embeddings, groups, num_groups=len(centres))
    new_KD = normalize(momentum * centres + (1 - momentum) * mean_KD, dim=1)
    return torch.where(present_K[:, None], new_KD, centres)


def mean_by_group(embeddings: Tensor, groups: Tensor, *, num_groups: int) -> tuple[Tensor, Tensor]:
    """(K, D) float32: the mean of each group, 0 for an empty one; (K,) whether it has an image.

    Args:
        embeddings: (B, D).
        groups: (B,) int64, 0 to K - 1, or -1 for an outlier, which is ignored.
        num_groups: K.
    """
    with_outliers_last = torch.where(groups < 0, num_groups, groups)
    sorted_groups, order = with_outliers_last.sort(stable=True)
    edges = torch.arange(num_groups + 1, device=groups.device)
    ends = torch.searchsorted(sorted_groups, edges, right=True)
    lengths = ends.diff(prepend=ends.new_zeros(1))
    # unsafe: without checks that synchronise with the device.
    sum_KD = torch.segment_reduce(
        embeddings.float()[order], "sum", lengths=lengths, axis=0, initial=0.0, unsafe=True
    )[:num_groups]
    count_K = lengths[:num_groups]
    return sum_KD / count_K.clamp(min=1)[:, None], count_K > 0
