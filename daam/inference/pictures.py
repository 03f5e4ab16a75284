"""Pictures of a test: ranked lists, attention maps, a map of the embeddings.

Shapes: Q = queries, G = gallery images, N = images.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from daam.config.schema import RunConfig
from daam.dataset.format.manifest import manifest_key
from daam.dataset.pixels.normalise import normalise
from daam.dataset.pixels.reader import Pixels
from daam.inference.views import embedded_views
from daam.metrics.diagnostics import domain_probe_accuracy
from daam.metrics.projection import project
from daam.metrics.retrieval import cosine_distances, ranked_gallery
from daam.model.network import DaamNetwork
from daam.plots.attention_maps import AttentionMap, draw_attention_maps
from daam.plots.projection import Legend, draw_projection
from daam.plots.ranked_lists import RankedList, Result, draw_ranked_lists, spread_queries
from daam.spread import spread_evenly
from daam.storage import open_store
from daam.training.scoring.retrieval_test import (
    RetrievalTest,
    TestResult,
    embedder_for,
    open_unlabelled,
)
from daam.training.setup.compute import compute_of
from daam.training.setup.data import manifest_of

NUM_LISTS, NUM_RANKS = 8, 10
NUM_MAPS = 12
NUM_POINTS = 500


def draw_lists(test: RetrievalTest, result: TestResult, *, title: str, to: Path) -> Path:
    """Draw the ten nearest gallery images of a few queries, from the best query to the worst."""
    rows = spread_queries(result.scores.average_precisions, count=NUM_LISTS)
    ranked = ranked_gallery(
        cosine_distances(result.query_NC[rows], result.gallery_NC).numpy(),
        query_labels=test.query.labels[rows],
        gallery_labels=test.gallery.labels,
        count=NUM_RANKS,
    )
    scores = result.scores
    lists = [
        RankedList(
            query=query,
            caption=caption,
            results=[
                Result(image=image, caption=seen_by, correct=bool(correct))
                for image, seen_by, correct in zip(
                    test.gallery.reader.read(found.columns).numpy(),
                    camera_captions(test.gallery.labels.cameras, rows=found.columns),
                    found.correct,
                    strict=True,
                )
            ],
        )
        for query, caption, found in zip(
            test.query.reader.read(rows).numpy(),
            [
                f"{seen_by}\nAP {scores.average_precisions[row]:.2f}".strip()
                for row, seen_by in zip(
                    rows, camera_captions(test.query.labels.cameras, rows=rows), strict=True
                )
            ],
            ranked,
            strict=True,
        )
    ]
    draw_ranked_lists(
        lists,
        title=title,
        subtitle=(
            f"mAP {scores.mean_average_precision:.3f}, rank-1 {scores.cmc[1]:.3f}; {len(rows)} of "
            f"{scores.num_queries} queries, spread evenly from the best to the worst"
        ),
        to=to,
    )
    return to


def draw_maps(
    reader: Pixels, embedder: DaamNetwork, config: RunConfig, *, title: str, of: str, to: Path
) -> Path:
    """Draw which places of a few images the attention takes for shared and which for specific.

    Args:
        reader: the images.
        embedder: with attention and the norm statistics of their domain; put into eval mode.
        config: of the run.
        title: which network and domain.
        of: what the images are, in the plural.
        to: PNG or SVG to write.
    """
    rows = rows_to_show(reader, count=NUM_MAPS)
    images_BHWC = reader.read(rows)
    compute = compute_of(config)
    embedder.eval()
    with torch.inference_mode(), compute.autocast():
        attention = embedder.attention_maps(normalise(compute.move(images_BHWC)))
    if attention is None:
        raise AssertionError("only a network with attention has maps to draw")
    maps = [
        AttentionMap(image=image, shared=shared, caption=caption)
        for image, shared, caption in zip(
            images_BHWC.numpy(),
            attention.float().mean(dim=1).cpu().numpy(),
            camera_captions(reader.cameras, rows=rows),
            strict=True,
        )
    ]
    draw_attention_maps(
        maps,
        title=title,
        subtitle=(
            f"{len(rows)} of {reader.num_rows:,} {of}, spread "
            f"{'evenly' if reader.cameras is None else 'over the cameras'}; yellow: where most of "
            "the features go to that part (mean over the channels)"
        ),
        to=to,
    )
    return to


def rows_to_show(reader: Pixels, *, count: int) -> np.ndarray:
    """Choose rows spread over a split, over its cameras too where they are known."""
    if reader.cameras is None:
        return spread_evenly(reader.num_rows, count=count)
    return rows_of_all_cameras(reader.cameras, count=count)


def camera_captions(cameras_N: np.ndarray | None, *, rows: np.ndarray) -> list[str]:
    """Name the camera of each of some rows; empty lines where cameras are unknown."""
    if cameras_N is None:
        return [""] * len(rows)
    return [f"camera {camera}" for camera in cameras_N[rows]]


def rows_of_all_cameras(cameras_N: np.ndarray, *, count: int) -> np.ndarray:
    """Choose rows spread over a split, and as evenly as possible over its cameras.

    Where there are more cameras than rows to choose, the cameras are spread too.
    """
    cameras = np.unique(cameras_N)
    if len(cameras) > count:
        cameras = cameras[spread_evenly(len(cameras), count=count)]
    shares = np.diff(np.linspace(0, count, len(cameras) + 1).astype(np.int64))
    chosen = []
    for camera, share in zip(cameras, shares, strict=True):
        rows = np.flatnonzero(cameras_N == camera)
        # The middle one of each of `share` equal parts.
        places = (2 * np.arange(share) + 1) * len(rows) // (2 * share)
        chosen.append(rows[np.unique(places)])
    return np.concatenate(chosen)


def draw_embeddings(
    unlabelled: Pixels,
    network: DaamNetwork,
    config: RunConfig,
    *,
    domain: str,
    title: str,
    to: Path,
) -> Path:
    """Draw unlabelled images of the tested domain and of the run's other domains as points.

    Each domain is embedded as for a search in it. Domains that are not where the tested one is are
    left out.
    """
    names = [domain]
    store = open_store(config.data.root)
    names += [
        name
        for name in config.pair().domains()
        if name != domain and store.exists(manifest_key(name))
    ]
    others = [manifest_of(config, name) for name in names[1:]]
    readers = [unlabelled, *(open_unlabelled(config, manifest=other) for other in others)]
    rows = [spread_evenly(reader.num_rows, count=NUM_POINTS) for reader in readers]
    embeddings = [
        embedded_views(
            embedder_for(reader, network, config, domain=name),
            reader,
            config,
            rows=chosen,
            names=["plain"],
        )["plain"]
        for name, reader, chosen in zip(names, readers, rows, strict=True)
    ]
    domains_N = np.repeat(np.arange(len(names)), [len(chosen) for chosen in rows])
    panels = [Legend(title="by domain", names=names, categories_N=domains_N)]
    if unlabelled.cameras is not None:
        cameras = np.unique(unlabelled.cameras)
        tested_cameras = np.searchsorted(cameras, unlabelled.cameras[rows[0]])
        categories_N = np.full(len(domains_N), -1)
        categories_N[: len(tested_cameras)] = tested_cameras
        panels.append(
            Legend(
                title=f"by camera of {domain}",
                names=[f"camera {camera}" for camera in cameras],
                categories_N=categories_N,
            )
        )
    draw_projection(
        project(torch.cat(embeddings).numpy(), seed=config.seed),
        panels=panels,
        title=title,
        subtitle=(
            f"{len(domains_N):,} unlabelled train images, laid out by t-SNE: neighbourhoods mean "
            "something, distances between groups do not\n"
            + probe_line(embeddings, names=names, seed=config.seed)
        ),
        to=to,
    )
    return to


def probe_line(embeddings: Sequence[Tensor], *, names: Sequence[str], seed: int) -> str:
    """Describe how well a linear probe separates the first domain from each of the others."""
    found = []
    for name, other in zip(names[1:], embeddings[1:], strict=True):
        domains = torch.cat([torch.zeros(len(embeddings[0])), torch.ones(len(other))])
        accuracy = domain_probe_accuracy(torch.cat([embeddings[0], other]), domains, seed=seed)
        found.append(f"from {name} with {100 * accuracy:.0f} %")
    if not found:
        return f"the run's other domains are not where {names[0]} is"
    return (
        f"on held-out images a linear probe separates {names[0]} {', '.join(found)} accuracy "
        "(chance is 50 %)"
    )
