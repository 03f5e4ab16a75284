"""Domain similarity: both domains are pulled to a third, nominal one.

Shapes: B = images in the batch of both domains, D = embedding width, 2 = source and target.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from daam.loss.precision import in_float32

# Added to a variance before its root: the root's slope at 0 is infinite. A unit vector of width
# 2048 has variances near 5e-4, next to which this is nothing.
VARIANCE_FLOOR = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """First two moments of each domain's embeddings; zeros for a domain without images."""

    mean: Tensor
    std: Tensor
    count: Tensor
    """How many images each domain has in the batch, int64."""


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
    domains, never single people, so it does not fight the identity loss. A domain without images
    in the batch adds nothing.

    Args:
        embeddings: (B, D), of the shared branch, L2-normalised; computed in float32.
        domains: (B,) int64, 0 source, 1 target.
        centre: (D,), the nominal domain's mean; gets no gradient.
        spread: (D,), the nominal domain's standard deviation; gets no gradient.
        gamma: weight of the spread beside the mean.
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
    # Deviations first, squares second: E[x^2] - E[x]^2 would cancel most digits of a small spread.
    deviation_BD = embeddings - mean[domains]
    variance_2D = share_2B @ deviation_BD.square()
    present_21 = (count > 0)[:, None]
    std = torch.where(present_21, (variance_2D + VARIANCE_FLOOR).sqrt(), 0)
    return Moments(mean=mean, std=std, count=count)


@torch.no_grad()
def moved_nominal_domain(
    centre: Tensor, spread: Tensor, moments: Moments, *, beta: float
) -> tuple[Tensor, Tensor]:
    """The nominal domain after a batch: a running average of what lies between the two domains.

    c <- beta c + (1 - beta) (m_s + m_t) / 2, and r from v likewise. The mean is over the domains
    the batch has; a batch without images moves nothing. The result is linear in the moments, so
    ranks that average their results hold what the averaged moments would have given.

    Args:
        centre: (D,), before the batch.
        spread: (D,), before the batch.
        moments: of the batch; gradients are cut here.
        beta: share of the old value that stays, 0 to 1; 0 starts from this batch alone.
    """
    present_2 = moments.count > 0
    share_2 = present_2 / present_2.sum().clamp(min=1)
    keep = torch.where(present_2.any(), beta, 1.0)
    moved_centre = keep * centre + (1 - keep) * (share_2 @ moments.mean)
    moved_spread = keep * spread + (1 - keep) * (share_2 @ moments.std)
    return moved_centre, moved_spread
