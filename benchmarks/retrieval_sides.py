"""The implementations in `benchmarks/retrieval.py`: ours, and published modules."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from market_sized import TestLabels
from numpy.typing import NDArray

from daam.metrics.reranking import reranked_chunks
from daam.metrics.retrieval import cosine_distances, retrieval_scores

OURS = "daam"
# The published settings of re-ranking.
K1, K2, PLAIN_WEIGHT = 20, 6, 0.3
QUERIES_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    mean_average_precision: float
    first_rank: float


Side = Callable[[NDArray[np.float32], TestLabels], Found]


def score_ours(distances: NDArray[np.float32], labels: TestLabels) -> Found:
    scores = retrieval_scores([distances], query_labels=labels.query, gallery_labels=labels.gallery)
    return Found(mean_average_precision=scores.mean_average_precision, first_rank=scores.cmc[1])


def score_peer(path: str) -> Side:
    module = load(path)

    def score(distances: NDArray[np.float32], labels: TestLabels) -> Found:
        cmc, precision, *_ = module.evaluate_cy(
            distances,
            labels.query.identities,
            labels.gallery.identities,
            labels.query.cameras,
            labels.gallery.cameras,
            50,
        )
        # A mean of float32 precisions in float64, or the peer's own mean.
        mean = float(np.asarray(precision, np.float64).mean())
        return Found(mean_average_precision=mean, first_rank=float(cmc[0]))

    return score


def given(
    name: str, distances: NDArray[np.float32], labels: TestLabels
) -> tuple[NDArray[np.float32], TestLabels]:
    """The input of an implementation: peers know no junk, their dataset readers drop it."""
    if name == OURS:
        return distances, labels
    kept = labels.gallery.identities >= 0
    return np.ascontiguousarray(distances[:, kept]), replace(labels, gallery=labels.gallery[kept])


def rerank_ours(query: torch.Tensor, gallery: torch.Tensor) -> NDArray[np.float32]:
    distances = np.empty((len(query), len(gallery)), np.float32)
    done = 0
    for rows in reranked_chunks(
        query, gallery, k1=K1, k2=K2, weight=PLAIN_WEIGHT, chunk=QUERIES_AT_ONCE
    ):
        distances[done : done + len(rows)] = rows
        done += len(rows)
    return distances


def rerank_peer(path: str) -> Callable[[torch.Tensor, torch.Tensor], NDArray[np.float32]]:
    module = load(path)

    def rerank(query: torch.Tensor, gallery: torch.Tensor) -> NDArray[np.float32]:
        distances = (
            # Squared within.
            (2 * cosine_distances(a, b)).clamp(min=0).sqrt().numpy()
            for a, b in ((query, gallery), (query, query), (gallery, gallery))
        )
        return module.re_ranking(*distances, K1, K2, PLAIN_WEIGHT)

    return rerank


def load(path: str) -> ModuleType:
    name = Path(path).name.split(".")[0]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
