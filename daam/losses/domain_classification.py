"""Domain classification on the specific branch. Shapes: B = images in the batch of both domains."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from daam.losses.balance import mean_over_domains
from daam.losses.precision import in_float32


@in_float32
def domain_classification_loss(logits: Tensor, domains: Tensor) -> Tensor:
    """Train the specific branch to tell the domains apart: a balanced cross-entropy.

    L = mean over the domains d in the batch of (mean over images of d of -log p_d), so that a
    domain with more images gets no more weight. A batch without images gives 0.

    Args:
        logits: (B, 2), from the domain classifier; computed in float32.
        domains: (B,) int64, 0 source, 1 target.
    """
    return mean_over_domains(cross_entropy(logits, domains, reduction="none"), domains)
