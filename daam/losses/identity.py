"""Source identity loss. Shapes: B = images in the batch, I = identities of the source."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from daam.losses.precision import in_float32


@in_float32
def identity_loss(logits: Tensor, identities: Tensor, *, label_smoothing: float) -> Tensor:
    """Classify the source identities: cross-entropy with smoothed labels.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7. With e the smoothing,
    L = -(1 - e) log p_y - e mean_i log p_i, averaged over the batch. A batch without images
    gives 0.

    Args:
        logits: (B, I), any floating type; computed in float32.
        identities: (B,) int64, the class of each image, 0 to I - 1.
        label_smoothing: the share e of the label spread evenly over all identities, 0 to 1.
    """
    total = cross_entropy(logits, identities, label_smoothing=label_smoothing, reduction="sum")
    return total / max(len(logits), 1)
