"""Cost of identity-balanced batches: sorting the labels once, a batch, and the slowest batch.

    python benchmarks/sampler.py --rows 10000000 --identities 1000000

A batch has P = 16 identities with K = 4 images each. `even` gives each identity about the same
number of images, `skewed` gives the n-th one a number that falls like 1 / n, up to --most. Times of
batches are the calling thread's CPU time, so that other work on the machine does not count.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.dataset.sampling.samplers import IdentityBatches, RowsByIdentity, ShuffledBatches

NUM_CAMERAS = 15
P, K = 16, 4


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of identity-balanced batches.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--identities", type=int, default=1_000_000)
    parser.add_argument("--most", type=int, default=1000, help="images of one identity, skewed")
    parser.add_argument("--steps", type=int, default=2000, help="batches timed")
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    cameras = generator.integers(0, NUM_CAMERAS, given.rows, dtype=np.int32)
    for name, identities in {
        "even": generator.integers(0, given.identities, given.rows),
        "skewed": skewed(given.rows, given.identities, most=given.most, generator=generator),
    }.items():
        print(f"{name}: {given.rows:,} rows, at most {np.bincount(identities).max()} an identity")
        measure(identities, cameras, num_steps=given.steps)


def skewed(
    num_rows: int, num_identities: int, *, most: int, generator: np.random.Generator
) -> np.ndarray:
    """Identities of rows, in any order: the n-th has a share that falls like 1 / n."""
    shares = np.minimum(1 / np.arange(1, num_identities + 1) * num_rows / 10, most) + 1
    edges = np.cumsum(shares) / shares.sum()
    return generator.permutation(np.searchsorted(edges, generator.random(num_rows)))


def measure(identities: np.ndarray, cameras: np.ndarray, *, num_steps: int) -> None:
    """Print the cost of sorting, of an epoch's sampler and of its batches."""
    millions = len(identities) / 1e6
    before = resident_bytes()
    begin, cpu = time.perf_counter(), time.thread_time()
    rows = RowsByIdentity(identities, cameras)
    seconds, cpu = time.perf_counter() - begin, time.thread_time() - cpu
    kept = (resident_bytes() - before) / 2**20
    print(
        f"  sort, once for the same labels: {seconds:.2f} s ({cpu:.2f} s CPU), "
        f"{cpu / millions:.3f} s CPU and {kept / millions:.1f} MiB kept per million rows"
    )
    samplers = {
        "P x K": IdentityBatches(
            rows, identities_per_batch=P, images_per_identity=K, seed=0, epoch=0
        ),
        "uniform": ShuffledBatches(len(identities), batch_size=P * K, seed=0, epoch=0),
    }
    for name, sampler in samplers.items():
        sampler.batch(0)
        # From the middle of the first pass into the second: a new order must cost no batch much.
        pass_steps = -(-rows.num_identities // P)
        spent = []
        for step in range(pass_steps - num_steps // 2, pass_steps + num_steps // 2):
            begin = time.thread_time()
            sampler.batch(step)
            spent.append(1e6 * (time.thread_time() - begin))
        low, high = np.percentile(spent, [50, 99])
        print(f"  {name:<8} batch: {low:.0f} us, 99 %: {high:.0f} us, most: {max(spent):.0f} us")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  peak of the process: {peak:.0f} MiB")


def resident_bytes() -> int:
    """What of this process is in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
