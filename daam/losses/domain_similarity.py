"""Domain similarity: losses that align the two domains in the shared branch.

`nominal_moment`, `nominal_classifier_loss` and `soft_svdd_loss` make both domains one class;
`domain_confusion_loss` and `gradient_reversal_loss` train embeddings against a domain classifier.

Shapes: B = images in the batch of both domains, D = embedding width, 2 = source and target,
3 = source, target and the nominal domain.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, relu

from daam.losses.balance import mean_over_domains
from daam.losses.domain_classification import domain_classification_loss
from daam.losses.precision import in_float32

# The class of a 3-way head that is neither source (0) nor target (1).
NOMINAL_DOMAIN = 2

# Added to a variance before its square root, whose gradient at 0 is infinite. Negligible beside the
# variances of a unit vector of width 2048, near 5e-4.
VARIANCE_FLOOR = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """First two moments of each domain's embeddings; zeros for a domain without images."""

    mean: Tensor
    std: Tensor
    count: Tensor
    """Number of images of each domain in the batch, int64."""


@in_float32
def nominal_moment(
    embeddings: Tensor,
    domains: Tensor,
    *,
    centre: Tensor,
    spread: Tensor,
    gamma: float,
) -> Tensor:
    """Pull each domain's mean and spread to those of the nominal domain.

    Source: the "new nominal domain" of arXiv:1905.10529; the form is ours. With m_d and v_d the
    elementwise mean and standard deviation of domain d, c the centre and r the spread of the
    nominal domain: L = sum over d of |m_d - c|^2 + gamma |v_d - r|^2. It constrains statistics of
    domains, not single identities, so it does not conflict with the identity loss. A domain without
    images in the batch adds nothing.

    Args:
        embeddings: (B, D), from the shared branch, L2-normalised; computed in float32.
        domains: (B,) int64, 0 source, 1 target.
        centre: (D,), the nominal domain's mean; gets no gradient.
        spread: (D,), the nominal domain's standard deviation; gets no gradient.
        gamma: weight of the spread relative to the mean.
    """
    moments = domain_moments(embeddings, domains)
    from_centre_2 = (moments.mean - centre.detach().float()).square().sum(dim=1)
    from_spread_2 = (moments.std - spread.detach().float()).square().sum(dim=1)
    return torch.where(moments.count > 0, from_centre_2 + gamma * from_spread_2, 0).sum()


@in_float32
def domain_moments(embeddings: Tensor, domains: Tensor) -> Moments:
    """Elementwise mean and standard deviation (biased) of the embeddings of each domain.

    The gradient is finite everywhere, also for a domain of one image or of equal ones.

    Args:
        embeddings: (B, D); computed in float32.
        domains: (B,) int64, 0 source, 1 target.
    """
    member_2B = domains == torch.arange(2, device=domains.device)[:, None]
    count = member_2B.sum(dim=1)
    share_2B = member_2B / count.clamp(min=1)[:, None]
    mean = share_2B @ embeddings
    # Not E[x^2] - E[x]^2, which cancels most digits of a small spread.
    deviation_BD = embeddings - mean[domains]
    variance_2D = share_2B @ deviation_BD.square()
    present_21 = (count > 0)[:, None]
    std = torch.where(present_21, (variance_2D + VARIANCE_FLOOR).sqrt(), 0)
    return Moments(mean=mean, std=std, count=count)


@torch.no_grad()
def update_nominal_domain(
    centre: Tensor, spread: Tensor, moments: Moments, *, beta: float
) -> tuple[Tensor, Tensor]:
    """The nominal domain after a batch: a running average of the midpoint of both domains.

    c <- beta c + (1 - beta) (m_s + m_t) / 2, and r from v likewise. The mean is over the domains
    in the batch; a batch without images changes nothing. The update is linear in the moments, so
    averaging the results of ranks equals the update by their averaged moments.

    Args:
        centre: (D,), before the batch.
        spread: (D,), before the batch.
        moments: of the batch; detached here.
        beta: share of the old value that is kept, 0 to 1; 0 uses this batch alone.
    """
    present_2 = moments.count > 0
    share_2 = present_2 / present_2.sum().clamp(min=1)
    keep = torch.where(present_2.any(), beta, 1.0)
    new_centre = keep * centre + (1 - keep) * (share_2 @ moments.mean)
    new_spread = keep * spread + (1 - keep) * (share_2 @ moments.std)
    return new_centre, new_spread


@in_float32
def nominal_classifier_loss(
    shared_logits: Tensor, specific_logits: Tensor, domains: Tensor
) -> Tensor:
    """Classify shared features as one nominal domain, and specific ones as their own domain.

    Source: the "new nominal domain" of arXiv:1905.10529; the form is ours. One 3-way head
    classifies both branches. With p its prediction for the shared and q for the specific part, d
    the image's domain and E the mean that weighs both domains equally:
    L = E[-log p_nominal] + E[-log q_d].
    The specific parts keep the head from always predicting "nominal".

    Args:
        shared_logits: (B, 3), from the shared branch; computed in float32.
        specific_logits: (B, 3), from the specific branch and the same head.
        domains: (B,) int64, 0 source, 1 target.
    """
    nominal = torch.full_like(domains, NOMINAL_DOMAIN)
    shared_B = cross_entropy(shared_logits, nominal, reduction="none")
    specific_B = cross_entropy(specific_logits.float(), domains, reduction="none")
    return mean_over_domains(shared_B + specific_B, domains)


@in_float32
def soft_svdd_loss(
    embeddings: Tensor, domains: Tensor, *, centre: Tensor, quantile: float
) -> Tensor:
    """Pull target images outside the source's ball towards its centre.

    Source: the soft-boundary one-class loss of Deep SVDD (Ruff et al. 2018, PMLR 80:4393), whose
    radius is also a quantile of the distances. With c the centre:
    R^2 = quantile over the batch's source images of |z - c|^2, without a gradient,
    L = mean over the batch's target images of max(0, |z - c|^2 - R^2).
    In ours the source defines the ball: source images have no loss, nor do target images as close
    to the centre as they are, so that embeddings do not collapse to a point. Without source images
    there is no ball and the loss is 0, as it is without target images.

    Args:
        embeddings: (B, D), from the shared branch, L2-normalised; computed in float32.
        domains: (B,) int64, 0 source, 1 target.
        centre: (D,), the source's, see `update_source_centre`; gets no gradient.
        quantile: share of the source images inside the ball, 0 to 1.
    """
    if len(embeddings) == 0:
        return embeddings.sum()
    source_B = domains == 0
    distance_B = (embeddings - centre.detach().float()).square().sum(dim=1)
    # Selecting the source images by a mask would synchronise with the device.
    source_distance_B = torch.where(source_B, distance_B.detach(), torch.nan)
    radius = torch.nanquantile(source_distance_B, quantile)
    radius = torch.where(source_B.any(), radius, torch.inf)

    outside_B = relu(distance_B - radius)
    return torch.where(source_B, 0, outside_B).sum() / (~source_B).sum().clamp(min=1)


@torch.no_grad()
def update_source_centre(
    centre: Tensor, embeddings: Tensor, domains: Tensor, *, beta: float
) -> Tensor:
    """(D,) float32: the source's centre after a batch, a running average of the source's mean.

    c <- beta c + (1 - beta) m_s. A batch without source images changes nothing. Averaging the
    results of ranks equals the update by the mean of their m_s.

    Args:
        centre: (D,), before the batch.
        embeddings: (B, D), from the shared branch, L2-normalised; detached here.
        domains: (B,) int64, 0 source, 1 target.
        beta: share of the old centre that is kept, 0 to 1; 0 uses this batch alone.
    """
    source_B = domains == 0
    source_BD = torch.where(source_B[:, None], embeddings.float(), 0)
    mean = source_BD.sum(dim=0) / source_B.sum().clamp(min=1)
    keep = torch.where(source_B.any(), beta, 1.0)
    return keep * centre + (1 - keep) * mean


@in_float32
def domain_confusion_loss(
    learning_logits: Tensor, confusing_logits: Tensor, domains: Tensor
) -> Tensor:
    """Train a domain classifier, and the embedding to make its prediction uniform.

    Source: Tzeng et al. 2015, arXiv:1510.02192. With p from the learning and q from
    the confusing logits, d the image's domain and E the mean that weighs both domains equally:
    L = E[-log p_d] + E[-(log q_0 + log q_1) / 2].
    The first term trains the head alone, the second the embedding alone, since `ConfusionHead`
    stops their other gradients. The paper alternates; ours does both in one step. For
    indistinguishable domains L = 2 log 2.

    Args:
        learning_logits: (B, 2), from the head on detached embeddings; computed in float32.
        confusing_logits: (B, 2), from the same head with detached weights on the embeddings.
        domains: (B,) int64, 0 source, 1 target.
    """
    uniform_B = -log_softmax(confusing_logits.float(), dim=1).mean(dim=1)
    learning = domain_classification_loss(learning_logits, domains)
    return learning + mean_over_domains(uniform_B, domains)


def gradient_reversal_loss(logits: Tensor, domains: Tensor) -> Tensor:
    """Train a domain classifier; the head reverses the gradient that reaches the embedding.

    Source: Ganin and Lempitsky 2015, arXiv:1409.7495. The value is that of
    domain classification, L = E[-log p_d] with both domains weighed equally: the reversal is the
    head's first operation, not part of the loss.

    Args:
        logits: (B, 2), from a head that reverses its gradient; computed in float32.
        domains: (B,) int64, 0 source, 1 target.
    """
    return domain_classification_loss(logits, domains)
