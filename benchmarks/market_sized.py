"""Random data with the sizes of Market-1501's test, for the benchmarks of retrieval.

Shapes: Q = queries, G = gallery images, N = images, D = embedding width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from daam.metrics.labels import Labels
from daam.metrics.retrieval import cosine_distances

NUM_QUERIES, NUM_PEOPLE, NUM_CAMERAS = 3368, 750, 6
NUM_IMAGES_OF_PEOPLE, NUM_DISTRACTORS, NUM_JUNK = 13115, 2798, 3819
# Separation of identities, from a weak model to a strong one.
SEPARATIONS = {"weak": 0.5, "fair": 0.65, "strong": 0.8}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestLabels:
    query: Labels
    gallery: Labels


def market_labels(*, junk: bool) -> TestLabels:
    """As many images of people, distractors and junk as Market-1501, unevenly over the people."""
    generator = np.random.default_rng(0)
    share = generator.dirichlet(np.full(NUM_PEOPLE, 3.0))
    people = np.concatenate(  # at least two images per person
        [
            np.repeat(np.arange(1, NUM_PEOPLE + 1), 2),
            generator.choice(NUM_PEOPLE, NUM_IMAGES_OF_PEOPLE - 2 * NUM_PEOPLE, p=share) + 1,
        ]
    )
    nobody = np.full(NUM_JUNK, -1 if junk else 0)
    gallery = np.concatenate([people, np.zeros(NUM_DISTRACTORS, np.int64), nobody])
    generator.shuffle(gallery)
    return TestLabels(
        query=Labels(
            identities=generator.integers(1, NUM_PEOPLE + 1, NUM_QUERIES),
            cameras=generator.integers(1, NUM_CAMERAS + 1, NUM_QUERIES),
        ),
        gallery=Labels(
            identities=gallery,
            cameras=generator.integers(1, NUM_CAMERAS + 1, len(gallery)),
        ),
    )


def market_distances(labels: TestLabels, *, separation: float) -> NDArray[np.float32]:
    torch.manual_seed(0)
    centres = normalize(torch.randn(NUM_PEOPLE + 1, 128), dim=1)
    query, gallery = (
        embed(torch.from_numpy(of), centres=centres, separation=separation)
        for of in (labels.query.identities, labels.gallery.identities)
    )
    return cosine_distances(query, gallery).numpy()


def market_embeddings(*, share: float, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Query and gallery of a share of the people, with as much of everybody else."""
    labels = market_labels(junk=False)
    torch.manual_seed(0)
    centres = normalize(torch.randn(NUM_PEOPLE + 1, width), dim=1)
    last, generator = int(share * NUM_PEOPLE), np.random.default_rng(0)
    query, gallery = (
        embed(
            torch.from_numpy(
                of[((of > 0) & (of <= last)) | ((of == 0) & (generator.random(len(of)) < share))]
            ),
            centres=centres,
            separation=SEPARATIONS["fair"],
        )
        for of in (labels.query.identities, labels.gallery.identities)
    )
    return query, gallery


def embed(identities: torch.Tensor, *, centres: torch.Tensor, separation: float) -> torch.Tensor:
    """(N, D): noise about the centre of the identity; distractors and junk are noise alone."""
    embeddings = torch.randn(len(identities), centres.shape[1]) / centres.shape[1] ** 0.5
    embeddings += separation * centres[identities.clamp(min=0)] * (identities > 0)[:, None]
    return normalize(embeddings, dim=1)
