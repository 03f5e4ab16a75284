"""Scores that need no identity label: whether attention, domains and groups are healthy.

Shapes: N = images, D = embedding width. All run once an epoch, on samples where that is enough.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from daam.errors import EvaluationError

# Images of each domain that the probe learns from and as many that it is tried on.
PROBE_IMAGES_PER_DOMAIN = 1000
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


def attention_statistics(attention: Tensor) -> AttentionStatistics:
    """Statistics over every value of an attention map; one copy from the device.

    Args:
        attention: any shape, values 0 to 1.
    """
    values = attention.detach().float()
    mean, std, above, below = torch.stack(
        [
            values.mean(),
            values.std(correction=0),
            (values > 0.9).float().mean(),
            (values < 0.1).float().mean(),
        ]
    ).tolist()
    return AttentionStatistics(mean=mean, std=std, share_above=above, share_below=below)


def domain_probe_accuracy(embeddings: Tensor, domains: Tensor, *, seed: int) -> float:
    """How well a linear probe tells the domains of held-out images apart: .5 not at all, 1 always.

    Logistic regression on standardised embeddings; half of the images teach it, the other half
    try it, with equally many of each domain, so that .5 is chance. Low is good for the shared
    embedding, high for the specific one.

    Args:
        embeddings: (N, D).
        domains: (N,), 0 source, 1 target.
        seed: which images are drawn.

    Raises:
        EvaluationError: a domain has fewer than two images.
    """
    features, labels = _as_numpy(embeddings), _as_numpy(domains)
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(labels == domain)) for domain in (0, 1)]
    half = min(min(len(rows) for rows in members) // 2, PROBE_IMAGES_PER_DOMAIN)
    if half == 0:
        raise EvaluationError(
            f"a domain probe needs two images of each domain, got {len(members[0])} of the source "
            f"and {len(members[1])} of the target; pass embeddings of both"
        )
    taught = np.concatenate([rows[:half] for rows in members])
    tried = np.concatenate([rows[half : 2 * half] for rows in members])

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
    with warnings.catch_warnings():
        # A probe that could still be a little better is good enough to compare epochs by.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features[taught], labels[taught])
    return float(probe.score(features[tried], labels[tried]))


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
    """Mean silhouette of the groups on a sample, -1 to 1; None with fewer than two groups in it.

    Source: Rousseeuw 1987; cosine distance. Outliers are left out. High: groups are compact and
    apart (which does not say that they are people).

    Args:
        embeddings: (N, D), L2-normalised.
        groups: (N,), -1 for an outlier.
        seed: which images are drawn.
    """
    grouped = np.flatnonzero(groups >= 0)
    if len(grouped) > SILHOUETTE_IMAGES:
        generator = np.random.default_rng(seed)
        grouped = generator.choice(grouped, SILHOUETTE_IMAGES, replace=False)
    num_groups = len(np.unique(groups[grouped]))
    if num_groups < 2 or num_groups == len(grouped):
        return None
    features = _as_numpy(embeddings[torch.from_numpy(grouped).to(embeddings.device)])
    return float(silhouette_score(features, groups[grouped], metric="cosine"))


def _as_numpy(tensor: Tensor) -> NDArray[np.generic]:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
