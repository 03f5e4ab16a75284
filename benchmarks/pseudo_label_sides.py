"""The implementations in `benchmarks/pseudo_labels.py`: ours, and checkouts of published code."""

import importlib
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ROOT = Path(__file__).resolve().parent.parent
K1, K2, EPS, MIN_SAMPLES = 30, 6, 0.6, 4
PEER_MODULES = {
    "cluster-contrast": "clustercontrast.utils.faiss_rerank",
    "openunreid": "openunreid.core.utils.compute_dist",
}


def ours(found: dict[str, object]) -> Callable[..., NDArray[np.int64]]:
    """Record the CPU seconds of each part and the number of shared neighbours summed."""
    sys.path.insert(0, str(ROOT))
    from daam.pseudo_labels import grouping, jaccard

    def timed(name: str, piece: Callable) -> Callable:
        def timed_piece(*given: object, **named: object) -> object:
            start = time.process_time()
            result = piece(*given, **named)
            found[f"{name}_cpu_s"] = time.process_time() - start
            return result

        return timed_piece

    # Each pair of rows that weigh the same column is a term.
    def counted(weights: sparse.csr_array, **named: float) -> sparse.csr_array:
        num_rows = np.bincount(weights.indices).astype(np.int64)
        found["num_terms"] = int((num_rows * (num_rows - 1) // 2).sum())
        return overlap(weights, **named)

    overlap = timed("overlap", jaccard._distances_from_overlap)
    jaccard._distances_from_overlap = counted
    jaccard.nearest_neighbours = timed("search", jaccard.nearest_neighbours)
    jaccard.reciprocal_weights = timed("neighbourhoods", jaccard.reciprocal_weights)
    grouping.group_by_density = timed("grouping", grouping.group_by_density)
    return lambda features: (
        grouping.pseudo_labels(features, k1=K1, k2=K2, eps=EPS, min_samples=MIN_SAMPLES).groups
    )


def theirs(side: str, checkout: Path) -> Callable[..., NDArray[np.int64]]:
    from sklearn.cluster import DBSCAN

    name = PEER_MODULES[side]
    parents = name.split(".")[:-1]
    for depth in range(len(parents)):
        package = types.ModuleType(".".join(parents[: depth + 1]))
        package.__path__ = [str(checkout.joinpath(*parents[: depth + 1]))]
        sys.modules[package.__name__] = package
    compute_jaccard_distance = importlib.import_module(name).compute_jaccard_distance

    def make_groups(features: object) -> NDArray[np.int64]:
        distances = compute_jaccard_distance(features, k1=K1, k2=K2, search_option=3)
        grouping = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed", n_jobs=-1)
        return grouping.fit_predict(distances)

    return make_groups
