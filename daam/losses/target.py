"""Losses on the unlabelled target domain: one on images alone, two on groups.

Shapes: B = target images in the batch, D = embedding width, N = images of the target's train
split, K = groups (pseudo-labels).
"""

import torch
from torch import Tensor

from daam.losses.precision import in_float32
from daam.losses.triplet import batch_hard_triplet


@in_float32
def exemplar_loss(
    embeddings: Tensor,
    rows: Tensor,
    memory: Tensor,
    *,
    temperature: float,
    num_neighbours: int,
) -> Tensor:
    """Tell each target image from all others, and pull it to its nearest ones.

    Source: Zhong et al. 2019, arXiv:1904.01990 (ECN). With M the memory,
    t the image's row, k the number of neighbours and s = M z / temperature:
    p = softmax(s), w_t = 1, w_j = 1/k for the k rows j != t of largest s_j,
    L = mean over images of -sum_j (w_j / sum w) log p_j.
    With k = 0 the image alone is the label. Ours differs from the authors' in that w is normalised
    (so for k > 0 the loss is about half of theirs), and in that the image itself never counts among
    its k nearest. With fewer than k other images, all of them are neighbours. Only z gets a
    gradient.

    Args:
        embeddings: (B, D), L2-normalised; computed in float32.
        rows: (B,) int64, the row of each image in the memory, 0 to N - 1.
        memory: (N, D), L2-normalised, one vector per image: see `daam.pseudo_labels.exemplars`.
        temperature: of the prediction, above 0.
        num_neighbours: k, 0 or more.
    """
    if len(embeddings) == 0:
        return embeddings.sum()
    score_BN = embeddings @ memory.detach().float().T / temperature
    label_score_B = score_BN.gather(1, rows[:, None]).squeeze(1)
    num_neighbours = min(num_neighbours, len(memory) - 1)
    if num_neighbours > 0:
        other_score_BN = score_BN.detach().scatter(1, rows[:, None], -torch.inf)
        nearest_Bk = other_score_BN.topk(num_neighbours, dim=1).indices
        label_score_B = (label_score_B + score_BN.gather(1, nearest_Bk).mean(dim=1)) / 2
    # The weights sum to 1, so -sum_j w_j log p_j needs no second (B, N) table of log p.
    return (score_BN.logsumexp(dim=1) - label_score_B).mean()


@in_float32
def soft_label_loss(
    embeddings: Tensor,
    groups: Tensor,
    centres: Tensor,
    *,
    epoch_start_embeddings: Tensor,
    temperature: float,
    target_temperature: float,
    softness: float,
) -> Tensor:
    """Pull each target image to the centre of its group, with a partly soft label.

    Source: the soft-label cross-entropy over clustered pseudo-labels of arXiv:1905.10529v2; the
    form is ours. With C the centres, e the softness, y the image's group, z0 its embedding when
    the groups were made:
    p = softmax(z C^T / temperature),
    q = (1 - e) one_hot(y) + e softmax(z0 C^T / target_temperature),
    L = mean over the images with a group of -sum_k q_k log p_k.
    Only z gets a gradient. Outliers (group -1) are ignored. A batch of outliers, or no group at
    all, gives a 0 that can still be differentiated, as data parallelism needs on every rank.

    Args:
        embeddings: (B, D), L2-normalised; computed in float32.
        groups: (B,) int64, the group of each image, 0 to K - 1, or -1 for an outlier.
        centres: (K, D), L2-normalised.
        epoch_start_embeddings: (B, D), of the same images when the groups were made.
        temperature: of the prediction, above 0.
        target_temperature: of the soft part of the label, above 0.
        softness: share e of the soft part, 0 to 1.
    """
    if len(centres) == 0:
        return (embeddings * 0).sum()
    centres = centres.detach().float()
    epoch_start_embeddings = epoch_start_embeddings.detach().float()

    log_p_BK = torch.log_softmax(embeddings @ centres.T / temperature, dim=1)
    soft_BK = torch.softmax(epoch_start_embeddings @ centres.T / target_temperature, dim=1)
    grouped_B = groups >= 0
    hard_B = log_p_BK.gather(1, groups.clamp(min=0)[:, None]).squeeze(1)
    loss_B = -((1 - softness) * hard_B + softness * (soft_BK * log_p_BK).sum(dim=1))
    return torch.where(grouped_B, loss_B, 0).sum() / grouped_B.sum().clamp(min=1)


def group_triplet_loss(embeddings: Tensor, groups: Tensor, *, margin: float) -> Tensor:
    """Pull each target image to its furthest group member, push it from the nearest other group.

    The batch-hard triplet loss with groups as identities, see `batch_hard_triplet`:
    L = mean over anchors of max(0, max D(same group) - min D(other group) + margin), D the cosine
    distance. An outlier (group -1) is neither anchor nor positive nor negative; without an anchor
    that has both a positive and a negative the loss is 0.

    Args:
        embeddings: (B, D), L2-normalised; computed in float32.
        groups: (B,) int64, the group of each image, or -1 for an outlier.
        margin: required gap between the two, in cosine distance (0 to 2).
    """
    return batch_hard_triplet(embeddings, groups, margin=margin)
