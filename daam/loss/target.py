"""Loss on the unlabelled target domain.

Shapes: B = target images in the batch, D = embedding width, K = groups (pseudo-labels).
"""

import torch
from torch import Tensor

from daam.loss.precision import in_float32


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
    """Pull each target image to its group's centre, as far as the groups can be trusted.

    Source: the soft-label cross-entropy over clustered pseudo-labels of arXiv:1905.10529v2; the
    form is ours. With C the centres, e the softness, y the image's group, z0 its embedding when
    the groups were made:
    p = softmax(z C^T / temperature),
    q = (1 - e) one_hot(y) + e softmax(z0 C^T / target_temperature),
    L = mean over the images with a group of -sum_k q_k log p_k.
    Only z gets a gradient. Outliers (group -1) are left out; a batch of outliers alone, or no
    group at all, gives 0 that can still be differentiated, as every rank must.

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
