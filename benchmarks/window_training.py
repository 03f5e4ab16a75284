"""Accuracy of training from windows of a few shards, beside training from all rows.

    python benchmarks/window_training.py --seeds 1 2 3

Trains the tiny backbone on the labels of the synthetic domain `plaza` (demo's size and budget, the
train split cut into 16 shards) and scores it on the query and gallery of `plaza` and of `campus`.
A window has 1/2, 1/4 or 1/8 of the shards; 1 is all rows, as without windows. Prints mean and
sample standard deviation over the seeds.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import sys
import tomllib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.config.load import nested, read_preset, run_config
from daam.config.schema import RunConfig
from daam.dataset.sampling.windows import ShardWindows
from daam.training.loop import fit
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import assemble
from daam.training.setup.data import Windows

ROOT = Path(__file__).resolve().parent.parent
NUM_SHARDS = 16
DOMAINS = ("plaza", "campus")


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy from windows of shards.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    print(f"| share of the shards in a window | {' | '.join(f'mAP on {at}' for at in DOMAINS)} |")
    print("|---|---|---|")
    for shards_per_window in (16, 8, 4, 2):
        found = [trained(config_of(seed, given.epochs), shards_per_window) for seed in given.seeds]
        cells = [
            f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"
            for values in zip(*found, strict=True)
        ]
        print(f"| 1/{NUM_SHARDS // shards_per_window} | {' | '.join(cells)} |", flush=True)


def config_of(seed: int, num_epochs: int) -> RunConfig:
    """The demo's settings, learning from the source alone."""
    demo = tomllib.loads((ROOT / "tune/spaces/demo.toml").read_text())
    fixed = {
        "seed": seed,
        "transfer": "->".join(DOMAINS),
        "data.root": str(ROOT / "data/rendered"),
        "optimiser.num_epochs": num_epochs,
        "loss.warmup_epochs": 0,
        "compute.device": "cpu",
    }
    sections = {name: demo[name] for name in ("data", "model", "optimiser")}
    return run_config(sections, read_preset("source_only"), nested(fixed))


def trained(config: RunConfig, shards_per_window: int) -> list[float]:
    """The mAP on each domain after training."""
    run = assemble(config)
    if shards_per_window < NUM_SHARDS:
        edges = np.linspace(0, run.source.reader.num_rows, NUM_SHARDS + 1).astype(int).tolist()
        windows = ShardWindows(
            [range(edges[i], edges[i + 1]) for i in range(NUM_SHARDS)],
            shards_per_window=shards_per_window,
            batch_size=config.data.identities_per_batch * config.data.images_per_identity,
            seed=2 * config.seed,
        )
        run.windows = Windows(source=windows)
    for _ in fit(run):
        pass
    return [
        score(
            run.embedder, RetrievalTest.on_test(config, domain=domain), config
        ).scores.mean_average_precision
        for domain in DOMAINS
    ]


if __name__ == "__main__":
    main()
