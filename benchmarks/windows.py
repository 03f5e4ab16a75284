"""What batches lose that come from windows of a few shards instead of all the data.

    python benchmarks/windows.py

For windows of different sizes, over one pass (or --passes): the share of pairs of different people
that met in a batch, and that share a window at all; images and cameras per person in a window,
beside all data; how many people a window leaves out; and how far the cameras' shares in its batches
deviate from those of all data. Rows are in random order over the shards, as an import writes them,
with as many people, images and cameras as Market-1501's train split by default.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.dataset.sampling.windows import ShardWindows, balanced_in_windows

P, K = 16, 4


def main() -> None:
    parser = argparse.ArgumentParser(description="What windows of shards lose.")
    parser.add_argument("--identities", type=int, default=751)
    parser.add_argument("--rows", type=int, default=12_936)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--passes", type=int, default=1)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    identities, cameras = people(
        given.rows, given.identities, num_cameras=given.cameras, generator=generator
    )
    edges = np.linspace(0, given.rows, given.shards + 1).astype(int)
    shards = [range(begin, end) for begin, end in pairwise(edges)]
    print(
        f"{given.rows:,} rows, {given.identities} people, {given.shards} shards, "
        f"batches of {P} x {K}, {given.passes} pass(es)"
    )
    print("window  pairs met  together in a window  images  cameras  left out  stray of cameras")
    shards_per_window = given.shards
    while shards_per_window:
        row = measure(identities, cameras, shards, shards_per_window, num_passes=given.passes)
        share = shards_per_window / given.shards
        print(f"{share:>6.3f}  {row}")
        shards_per_window //= 2


def people(
    num_rows: int, num_identities: int, *, num_cameras: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Identities and cameras: a person has a random number of images and of cameras."""
    shares = generator.gamma(4, size=num_identities)
    identities = np.concatenate(
        [
            np.repeat(np.arange(num_identities), 2),
            generator.choice(
                num_identities, num_rows - 2 * num_identities, p=shares / shares.sum()
            ),
        ]
    )
    identities = generator.permutation(identities)
    seen_by = generator.integers(2, num_cameras + 1, num_identities)[identities]
    first = generator.integers(0, num_cameras, num_identities)[identities]
    cameras = (first + generator.integers(0, seen_by)) % num_cameras
    return identities, cameras


def measure(
    identities: np.ndarray,
    cameras: np.ndarray,
    shards: list[range],
    shards_per_window: int,
    *,
    num_passes: int,
) -> str:
    """Draw the batches of the passes; describe them in a row of the table."""
    num_people = identities.max() + 1
    windows = ShardWindows(shards, shards_per_window=shards_per_window, batch_size=P * K, seed=0)
    sampler = balanced_in_windows(
        identities,
        cameras,
        windows=windows,
        first_step=0,
        identities_per_batch=P,
        images_per_identity=K,
        seed=0,
        or_uniform=False,
    )
    steps = num_passes * -(-len(identities) // (P * K))
    met = np.zeros((num_people, num_people), dtype=bool)
    of_all = np.bincount(cameras) / len(cameras)
    drawn: dict[int, list[np.ndarray]] = {}
    for step in range(steps):
        rows = sampler.batch(step)
        batch = np.unique(identities[rows])
        met[np.ix_(batch, batch)] = True
        drawn.setdefault(windows.at(step).number, []).append(rows)
    together = np.zeros_like(met)
    images, views, left_out, strays = [], [], [], []
    for number, batches in drawn.items():
        inside = np.concatenate([np.array(shards[shard]) for shard in windows.shards_of(number)])
        counts = np.bincount(identities[inside], minlength=num_people)
        there = np.flatnonzero(counts > 1)
        together[np.ix_(there, there)] = True
        left_out.append(1 - len(there) / num_people)
        images.append(counts[there].mean())
        views.append(
            len(np.unique(identities[inside] * 1000 + cameras[inside])) / (counts > 0).sum()
        )
        shares = np.bincount(cameras[np.concatenate(batches)], minlength=len(of_all))
        strays.append(np.abs(shares / shares.sum() - of_all).sum() / 2)
    pairs = ~np.eye(num_people, dtype=bool)
    return (
        f"{met[pairs].mean():>9.3f}  {together[pairs].mean():>20.3f}  {np.mean(images):>6.1f}  "
        f"{np.mean(views):>7.2f}  {np.mean(left_out):>8.3f}  {np.mean(strays):>16.3f}"
    )


if __name__ == "__main__":
    main()
