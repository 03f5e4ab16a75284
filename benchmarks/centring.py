"""Groups of rendered targets with and without each camera's mean, for many kinds of cameras.

Embeddings are those of a tiny network trained on the source alone, and colour histograms. Each kind
has the pairwise F1 of the groups against the people (outliers are alone) if cameras are never,
always and automatically centred, as the mean over targets and draws, and the most that `auto` lost
against `never` in one of them.

    python benchmarks/centring.py
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor

from daam.config.load import nested, read_preset, run_config, with_settings
from daam.dataset.loader.ordered import ordered_batches
from daam.dataset.reading.labels import read_identities
from daam.domains import Split
from daam.metrics.colour_histogram import colour_histogram
from daam.pseudo_labels.automatic import choose_grouping
from daam.pseudo_labels.grouping import pseudo_labels
from daam.runs.preparation import prepare_domains
from daam.storage import open_store
from daam.training.loop import fit
from daam.training.relabel import embedded_target, network_of_target, without_cameras
from daam.training.setup.assemble import Run, assemble
from daam.training.setup.data import shard_cache

DOMAINS = ("plaza", "campus", "station")
NUM_DRAWS = 4
Case = tuple[str, np.ndarray, np.ndarray]


def main() -> None:
    """Train one source, group the other domains by its network and by colours."""
    parser = argparse.ArgumentParser(description="Groups with and without camera centring")
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    source, *targets = DOMAINS
    config = run_config(
        read_preset("source_only"),
        nested(
            {
                "transfer": f"{source}->{targets[0]}",
                "model.backbone": "tiny",
                "data.height": 48,
                "data.width": 24,
                "optimiser.num_epochs": arguments.epochs,
                "optimiser.learning_rate": 6e-3,
                "optimiser.warmup_epochs": 1.0,
                "optimiser.steps_per_epoch": 30,
                "compute.device": "cpu",
            }
        ),
    )
    prepare_domains(config, {name: {Split.TRAIN} for name in DOMAINS}, progress=lambda *_: None)
    run = assemble(config)
    for _ in fit(run):
        pass
    scores: dict[tuple[str, str], list[tuple[float, float, float, bool]]] = {}
    for target in targets:
        of_target = assemble(with_settings(config, {"transfer": f"{source}->{target}"}))
        of_target.network.load_state_dict(run.network.state_dict())
        people_N, cameras_N = identities_of(of_target), np.asarray(of_target.target.cameras)
        for name, embeddings_NC in (
            ("network", embedded_target(of_target, network_of_target(of_target))),
            ("colours", colours_of(of_target)),
        ):
            for case, rows, seen_by in cases(cameras_N, people_N):
                found = compared(
                    embeddings_NC[torch.from_numpy(rows)], seen_by, people_N[rows], run=of_target
                )
                scores.setdefault((name, case), []).append(found)
    print("embedding  cameras                  never  always  auto   centred  worst of auto")
    for (name, case), found in scores.items():
        never, always, auto, centred = np.mean(found, axis=0)
        worst = min(row[2] - row[0] for row in found)
        print(
            f"{name:9}  {case:23}  {never:.3f}  {always:.3f}   {auto:.3f}  {centred:7.0%}  "
            f"{worst:+.3f}"
        )


def cases(cameras_N: np.ndarray, people_N: np.ndarray) -> Iterator[Case]:
    """Kinds of cameras: a name, the rows that are grouped, and the camera of each."""
    every = np.arange(len(cameras_N))
    yield f"{len(np.unique(cameras_N))}, all images", every, cameras_N
    for draw in range(NUM_DRAWS):
        generator = np.random.default_rng(draw)
        for images in (1, 2, 6, 50):
            yield f"{images} images each", every, in_parts(cameras_N, images, generator=generator)
        few = np.isin(people_N, generator.permutation(np.unique(people_N))[:22])
        yield "4, of about 50 images", np.flatnonzero(few), cameras_N[few]
    yield "one for each person", every, people_N
    for camera in np.unique(cameras_N):
        rows = np.flatnonzero(cameras_N == camera)
        yield "one alone", rows, cameras_N[rows]


def in_parts(cameras_N: np.ndarray, images: int, *, generator: np.random.Generator) -> np.ndarray:
    """Split every camera into cameras of so many images, drawn at random from it."""
    parts_N = np.empty(len(cameras_N), np.int64)
    for camera in np.unique(cameras_N):
        rows = generator.permutation(np.flatnonzero(cameras_N == camera))
        parts_N[rows] = 10_000 * camera + np.arange(len(rows)) // images
    return parts_N


def compared(
    embeddings_NC: Tensor, cameras_N: np.ndarray, people_N: np.ndarray, *, run: Run
) -> tuple[float, float, float, bool]:
    """F1 of never, always and automatic centring, and whether the last is centred."""
    loss = run.config.loss.target
    grouping = choose_grouping(
        num_images=len(people_N),
        cameras_N=cameras_N,
        tracks_N=None,
        source_images_per_person=len(run.source.identities) / run.source.num_identities,
        num_neighbours=None,
        num_expansion=None,
        centre_cameras=None,
    )
    never, always = (
        pairwise_f1(
            pseudo_labels(
                compared_NC,
                k1=grouping.num_neighbours,
                k2=grouping.num_expansion,
                eps=loss.eps,
                min_samples=loss.min_samples,
            ).groups,
            people_N,
        )
        for compared_NC in (embeddings_NC, without_cameras(embeddings_NC, cameras_N))
    )
    return never, always, always if grouping.centre_cameras else never, grouping.centre_cameras


def pairwise_f1(groups_N: np.ndarray, people_N: np.ndarray) -> float:
    """Of pairs of images in one group against pairs of one person, from 0 to 1."""

    def num_pairs(*columns: np.ndarray) -> float:
        _, counts = np.unique(np.column_stack(columns), axis=0, return_counts=True)
        return float((counts * (counts - 1) / 2).sum())

    grouped = groups_N >= 0
    right = num_pairs(groups_N[grouped], people_N[grouped])
    found, wanted = num_pairs(groups_N[grouped]), num_pairs(people_N)
    return 2 * right / (found + wanted) if found + wanted else 0.0


def identities_of(run: Run) -> np.ndarray:
    """The people of a run's target, for the score alone."""
    manifest = run.target.manifest
    return read_identities(
        open_store(run.config.data.root),
        manifest=manifest,
        splits=manifest.whole_train_splits,
        cache=shard_cache(run.config),
    )


def colours_of(run: Run) -> Tensor:
    """Colour histograms of the middle of each image of the target."""
    top, left = run.config.data.height // 16, run.config.data.width // 4
    return torch.cat(
        [
            colour_histogram(images_BHWC[:, top:-top, left:-left].contiguous())
            for _, images_BHWC in ordered_batches(
                run.target.reader, batch_size=64, rank=0, num_ranks=1, num_threads=1
            )
        ]
    )


if __name__ == "__main__":
    main()
