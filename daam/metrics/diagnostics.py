"""Scores that need no identity label: whether attention, domains and groups are healthy.

Shapes: N = images, D = embedding width, K = groups. All are cheap enough for every epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daam.errors import EvaluationError

# Images of each domain in each of the probe's two halves.
PROBE_IMAGES_PER_DOMAIN = 500
# Of the squared weights, beside the mean squared error on standardised embeddings. With 128 images
# of each domain it tells domains apart as well as logistic regression, at widths 128 and 2,048.
PROBE_PENALTY = 0.1
SILHOUETTE_IMAGES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionStatistics:
    """Where the attention stands between all specific (0) and all shared (1)."""

    mean: float
    std: float
    share_above: float
    """Share of values above .9: near 1, nothing is left for the specific branch."""
    share_below: float
    """Share of values below .1: near 1, nothing is left for the shared branch."""

    @classmethod
    def pooled(cls, parts: Sequence[Self], *, num_images: Sequence[int]) -> Self:
        """The statistics of several batches taken together.

        Args:
            parts: of each batch; at least one.
            num_images: in each batch.
        """
        weights = np.array(num_images) / sum(num_images)
        means = np.array([part.mean for part in parts])
        mean = float(weights @ means)
        # Variance within the batches and between them: no difference of large numbers.
        variance = weights @ (np.array([part.std for part in parts]) ** 2 + (means - mean) ** 2)
        return cls(
            mean=mean,
            std=float(np.sqrt(variance)),
            share_above=float(weights @ np.array([part.share_above for part in parts])),
            share_below=float(weights @ np.array([part.share_below for part in parts])),
        )


def attention_statistics(attention: Tensor) -> AttentionStatistics:
    """Statistics over every value of an attention map; one copy from the device.

    Args:
        attention: any shape, values 0 to 1.
    """
    values = attention.detach().float()
    variance, mean = torch.var_mean(values, correction=0)
    mean, std, above, below = torch.stack(
        [
            mean,
            variance.sqrt(),
            torch.count_nonzero(values > 0.9) / values.numel(),
            torch.count_nonzero(values < 0.1) / values.numel(),
        ]
    ).tolist()
    return AttentionStatistics(mean=mean, std=std, share_above=above, share_below=below)


def domain_probe_accuracy(embeddings: Tensor, domains: Tensor, *, seed: int) -> float:
    """How well a linear probe tells the domains of held-out images apart: .5 not at all, 1 always.

    The images are drawn into two halves with equally many of each domain, so that .5 is chance.
    A ridge regression of the domain on standardised embeddings, in closed form, learns from one
    half and is tried on the other, then the other way round; the mean comes back. Low is good for
    the shared embedding, high for the specific one.

    Args:
        embeddings: (N, D).
        domains: (N,), 0 source, 1 target.
        seed: which images are drawn.

    Raises:
        EvaluationError: a domain has fewer than two images.
    """
    labels = domains.cpu().numpy()
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(labels == domain)) for domain in (0, 1)]
    half = min(min(len(rows) for rows in members) // 2, PROBE_IMAGES_PER_DOMAIN)
    if half == 0:
        raise EvaluationError(
            f"a domain probe needs two images of each domain, got {len(members[0])} of the source "
            f"and {len(members[1])} of the target; pass embeddings of both"
        )
    halves = [
        embeddings[torch.from_numpy(np.concatenate(rows)).to(embeddings.device)].detach().float()
        for rows in (
            [rows[:half] for rows in members],
            [rows[half : 2 * half] for rows in members],
        )
    ]
    side_N = halves[0].new_tensor([-1.0, 1.0]).repeat_interleave(half)
    there = _ridge_accuracy(halves[0], tried_ND=halves[1], side_N=side_N)
    back = _ridge_accuracy(halves[1], tried_ND=halves[0], side_N=side_N)
    return (there + back) / 2


def domain_mean_cosine(embeddings: Tensor, domains: Tensor) -> float:
    """Cosine between the mean embeddings of the two domains, -1 to 1.

    Args:
        embeddings: (N, D).
        domains: (N,), 0 source, 1 target; both must occur.
    """
    means = [embeddings[domains == domain].float().mean(dim=0) for domain in (0, 1)]
    return float(torch.cosine_similarity(means[0], means[1], dim=0))


def mean_pairwise_distance(embeddings: Tensor) -> float:
    """Mean cosine distance over all pairs of different images, 0 to 1 + 1 / (N - 1).

    Taken from the mean embedding m, without looking at pairs: N / (N - 1) (1 - |m|^2). Near 0 the
    embedding has collapsed to a point. A single image gives 0.

    Args:
        embeddings: (N, D), L2-normalised.
    """
    num_images = len(embeddings)
    if num_images < 2:
        return 0.0
    mean_D = embeddings.double().mean(dim=0)
    return float(num_images / (num_images - 1) * (1 - mean_D.square().sum()))


def silhouette(embeddings: Tensor, groups: NDArray[np.integer], *, seed: int) -> float | None:
    """Mean silhouette of the groups, -1 to 1; None where there are fewer than two to compare.

    Source: Rousseeuw 1987; cosine distance. Outliers are left out, an image alone in its group
    counts 0. High: groups are compact and apart (which does not say that they are people).

    The mean cosine distance from an image to a group is 1 minus its product with the group's mean,
    so no two images are compared: groups are taken whole, and of more than 2,000 grouped images
    only the mean over a sample of that size is estimated.

    Args:
        embeddings: (N, D), L2-normalised.
        groups: (N,), -1 for an outlier.
        seed: which images are drawn.
    """
    grouped = np.flatnonzero(groups >= 0)
    known, group_of, sizes = np.unique(groups[grouped], return_inverse=True, return_counts=True)
    if len(known) < 2 or len(known) == len(grouped):
        return None
    grouped_ND = embeddings[torch.from_numpy(grouped).to(embeddings.device)].detach().float()
    group_N = torch.from_numpy(group_of).to(embeddings.device)
    size_K = torch.from_numpy(sizes).to(embeddings.device)
    sums_KD = grouped_ND.new_zeros(len(known), grouped_ND.shape[1])
    sums_KD.index_add_(0, group_N, grouped_ND)

    if len(grouped) > SILHOUETTE_IMAGES:
        sample = np.random.default_rng(seed).choice(len(grouped), SILHOUETTE_IMAGES, replace=False)
        rows = torch.from_numpy(sample).to(embeddings.device)
        grouped_ND, group_N = grouped_ND[rows], group_N[rows]
    distance_NK = 1 - grouped_ND @ (sums_KD / size_K[:, None]).T
    own_N1 = group_N[:, None]
    size_N = size_K[group_N]
    # An image's distance to itself is 0 and does not count.
    within_N = distance_NK.gather(1, own_N1)[:, 0] * size_N / (size_N - 1).clamp(min=1)
    nearest_N = distance_NK.scatter(1, own_N1, torch.inf).amin(dim=1)
    larger_N = torch.maximum(within_N, nearest_N)
    score_N = (nearest_N - within_N) / larger_N.clamp(min=torch.finfo(torch.float32).tiny)
    return float(torch.where(size_N > 1, score_N, 0).mean())


def _ridge_accuracy(taught_ND: Tensor, *, tried_ND: Tensor, side_N: Tensor) -> float:
    """Share of the tried images on the right side; taught and tried have the same sides in order.

    w minimises mean((X w - y)^2) + penalty |w|^2. Of its two forms the one with the smaller matrix
    is solved: D x D, or N x N.
    """
    mean_D, std_D = taught_ND.mean(dim=0), taught_ND.std(dim=0, correction=0)
    # A direction that does not change tells nothing, and its rounding errors must not.
    scale_D = torch.where(std_D > 1e-6, std_D.reciprocal(), 0)
    taught_ND, tried_ND = (taught_ND - mean_D) * scale_D, (tried_ND - mean_D) * scale_D
    num_taught, width = taught_ND.shape
    if width <= num_taught:
        product = taught_ND.T @ taught_ND
        answer = taught_ND.T @ side_N
    else:
        product = taught_ND @ taught_ND.T
        answer = side_N
    product.diagonal().add_(PROBE_PENALTY * num_taught)
    solved = torch.cholesky_solve(answer[:, None], torch.linalg.cholesky(product))[:, 0]
    weight_D = solved if width <= num_taught else taught_ND.T @ solved
    score_N = tried_ND @ weight_D
    # On the boundary a probe can only guess.
    return float(torch.where(score_N == 0, 0.5, (score_N * side_N > 0).double()).mean())
