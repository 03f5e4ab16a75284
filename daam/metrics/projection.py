"""Embeddings as points on a plane.

Shapes: N = images, D = embedding width.
"""

import numpy as np
from numpy.typing import NDArray

from daam.errors import EvaluationError

NUM_COMPONENTS = 50
PERPLEXITY = 30.0
LEAST_IMAGES = 4


def project(embeddings: NDArray[np.floating], *, seed: int) -> NDArray[np.float32]:
    """Place images on a plane so that near neighbours stay near: (N, 2), by PCA and then t-SNE.

    Source: van der Maaten and Hinton 2008, of the first 50 principal components, perplexity 30
    (less for fewer than 91 images). Neighbourhoods are kept; distances between groups, their sizes
    and the axes mean nothing. The same seed gives the same points. 1,000 images take a few seconds.

    Args:
        embeddings: (N, D), L2-normalised, so that Euclidean and cosine neighbours are the same.
        seed: of the randomised steps.

    Raises:
        EvaluationError: there are fewer than four images, or an embedding is not finite.
    """
    from sklearn.decomposition import PCA  # takes over a second, and few commands draw
    from sklearn.manifold import TSNE

    num_images, width = embeddings.shape
    if num_images < LEAST_IMAGES:
        raise EvaluationError(
            f"{num_images} images are too few to lay out; give at least {LEAST_IMAGES}"
        )
    if not np.isfinite(embeddings).all():
        raise EvaluationError(
            "an embedding is NaN or infinite, so nothing can be laid out; look for non-finite "
            "weights in the checkpoint"
        )
    if np.ptp(embeddings, axis=0).max() == 0:
        return np.zeros((num_images, 2), np.float32)  # t-SNE would divide by 0
    reduced = PCA(min(NUM_COMPONENTS, num_images, width), random_state=seed).fit_transform(
        embeddings
    )
    return TSNE(
        perplexity=min(PERPLEXITY, (num_images - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=seed,
        n_jobs=1,
    ).fit_transform(reduced)
