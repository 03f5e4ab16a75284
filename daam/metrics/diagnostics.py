"""Scores without identity labels: are attention, domains and groups healthy?

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

# Images per domain in each of the probe's two halves.
PROBE_IMAGES_PER_DOMAIN = 500
# Weight decay beside the mean squared error on standardised embeddings. With 128 images per domain
# the probe is as accurate as logistic regression, at widths 128 and 2,048.
PROBE_PENALTY = 0.1
SILHOUETTE_IMAGES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionStatistics:
    """The distribution of attention between all specific (0) and all shared (1)."""

    mean: float
    std: float
    share_above: float
    """Share of values above .9: near 1, nothing is left for the specific branch."""
    share_below: float
    """Share of values below .1: near 1, nothing is left for the shared branch."""

    @classmethod
    def pooled(cls, parts: Sequence[Self], *, num_images: Sequence[int]) -> Self:
        """Combine the statistics of batches (at least one) of `num_images` each."""
        weights = np.array(num_images) / sum(num_images)
        means = np.array([part.mean for part in parts])
        mean = float(weights @ means)
        # Variance within plus between batches: numerically stable, no difference of large numbers.
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
    """Accuracy of a linear probe that classifies the domain of held-out images; .5 is chance.

    The images are split at random into two halves with equally many of each domain. A ridge
    regression of the domain on standardised embeddings, in closed form, is trained on one half and
    tested on the other, then the other way round; the mean is returned. Low is good for the shared
    embedding, high for the specific one.

    Args:
        embeddings: (N, D).
        domains: (N,), 0 source, 1 target.
        seed: of the split.

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
        for rows in ([rows[:half] for rows in members], [rows[half : 2 * half] for rows in members])
    ]
    sign_N = halves[0].new_tensor([-1.0, 1.0]).repeat_interleave(half)
    there = _ridge_accuracy(halves[0], test_ND=halves[1], sign_N=sign_N)
    back = _ridge_accuracy(halves[1], test_ND=halves[0], sign_N=sign_N)
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

    Computed from the mean embedding m: N / (N - 1) (1 - |m|^2). Near 0 the embedding has collapsed
    to a point. A single image gives 0.

    Args:
        embeddings: (N, D), L2-normalised.
    """
    num_images = len(embeddings)
    if num_images < 2:
        return 0.0
    mean_D = embeddings.double().mean(dim=0)
    return float(num_images / (num_images - 1) * (1 - mean_D.square().sum()))


def silhouette(embeddings: Tensor, groups: NDArray[np.integer], *, seed: int) -> float | None:
    """Mean silhouette of the groups, -1 to 1; None with fewer than two groups, or only singletons.

    Source: Rousseeuw 1987; cosine distance. Outliers are left out, an image alone in its group
    counts 0. High: groups are compact and well separated (not necessarily people).

    The mean cosine distance from an image to a group is 1 minus its product with the group's mean,
    so no pair of images is compared. Of more than 2,000 grouped images a sample is averaged, still
    against whole groups.

    Args:
        embeddings: (N, D), L2-normalised.
        groups: (N,), -1 for an outlier.
        seed: of the sample.
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


def _ridge_accuracy(train_ND: Tensor, *, test_ND: Tensor, sign_N: Tensor) -> float:
    """Share of the test images on the correct side; both halves have the same signs in order.

    w minimises mean((X w - y)^2) + penalty |w|^2. Of its primal and dual form the one with the
    smaller matrix is solved: D x D, or N x N.
    """
    mean_D, std_D = train_ND.mean(dim=0), train_ND.std(dim=0, correction=0)
    # A constant dimension carries no information, and its rounding errors must not count.
    scale_D = torch.where(std_D > 1e-6, std_D.reciprocal(), 0)
    train_ND, test_ND = (train_ND - mean_D) * scale_D, (test_ND - mean_D) * scale_D
    num_train, width = train_ND.shape
    primal = width <= num_train
    gram = train_ND.T @ train_ND if primal else train_ND @ train_ND.T
    gram.diagonal().add_(PROBE_PENALTY * num_train)
    target = train_ND.T @ sign_N if primal else sign_N
    solved = torch.cholesky_solve(target[:, None], torch.linalg.cholesky(gram))[:, 0]
    score_N = test_ND @ (solved if primal else train_ND.T @ solved)
    # On the boundary a probe can only guess.
    return float(torch.where(score_N == 0, 0.5, (score_N * sign_N > 0).double()).mean())
