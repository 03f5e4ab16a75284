"""A data set of 100 million images on 64 nodes: measured, extrapolated, simulated.

    python benchmarks/scaling.py measure --results scaling.json
    python benchmarks/scaling.py simulate --results scaling.json --picture docs/images/scaling.png

`measure` times, on random data of 1 and 10 million rows, what a process does before its first
batch: reading a manifest, opening an index, sorting labels. Each is a process of its own; existing
results are kept. `simulate` extrapolates them linearly to 100 million rows, and steps 64 nodes
through their start, second by second: requests to the store, cache fill and training speed. A
training step waits for the slowest node, so the nodes' links are drawn (seeded) around their
nominal speed.
"""

import argparse
import hashlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ROWS_MEASURED = (1_000_000, 10_000_000)
ROUNDS = 3
IMAGE_BYTES, INDEX_BYTES, IDENTITIES_PER_ROW = 11_500, 16, 0.1
IDENTITY_LABEL_BYTES, NAME_BYTES = 16, 34  # row and identity; a name of 30 letters, its offset
MIB = 2**20
FILL_REQUEST_BYTES = 4 * MIB  # a part of a shard, in the background


def main() -> None:
    parser = argparse.ArgumentParser(description="100 million images on 64 nodes.")
    parser.add_argument("command", choices=["measure", "simulate"])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS_MEASURED)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    if arguments.command == "measure":
        measure_all(results, rows=arguments.rows, path=arguments.results)
    else:
        report(results, picture=arguments.picture)


# Measured.


def measure_all(results: dict[str, list[float]], *, rows: list[int], path: Path) -> None:
    """Fill in missing results: name -> [CPU seconds, MB that remain], medians of `ROUNDS`."""
    for num_rows in rows:
        for name, work in WORK.items():
            key = f"{name}, {num_rows}"
            if key in results:
                continue
            with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
                rounds = [pool.apply(work, (num_rows,)) for _ in range(ROUNDS)]
            results[key] = [float(value) for value in np.median(rounds, axis=0)]
            path.write_text(json.dumps(results, indent=1))
            print(f"{key}: {results[key][0]:.3f} s of CPU, {results[key][1]:.0f} MB", flush=True)


def read_a_manifest(num_rows: int) -> tuple[float, float]:
    from daam.dataset.format.manifest import DomainManifest

    data = manifest_of(num_rows).to_json()
    return cost(lambda: DomainManifest.from_json(data, domain="people", place="a store"))


def open_an_index(num_rows: int) -> tuple[float, float]:
    """Reading an index and the cameras of all its rows, as opening images does."""
    import pyarrow as pa

    from daam.dataset.format.manifest import ShardEntry
    from daam.dataset.format.shard_index import read_index
    from daam.dataset.format.shards import PLACE_SCHEMA, write_index
    from daam.domains import Split

    shards = manifest_of(num_rows).split(Split.TRAIN).shards
    per_shard = rows_per_shard(64 * MIB)
    offsets = np.arange(per_shard, dtype=np.uint32) * IMAGE_BYTES + 512

    def batches(entries: tuple[ShardEntry, ...]) -> object:
        for entry in entries:
            columns = [
                np.ones(entry.num_rows, np.int32),
                offsets[: entry.num_rows],
                np.full(entry.num_rows, IMAGE_BYTES, np.uint32),
                np.zeros(entry.num_rows, np.uint32),
            ]
            yield pa.record_batch(columns, schema=PLACE_SCHEMA)

    with tempfile.TemporaryDirectory() as folder:
        written = write_index(
            batches(shards),  # type: ignore[arg-type]
            domain="people",
            split=Split.TRAIN,
            folder=Path(folder),
        )

        def open_it() -> object:
            indexes = read_index(written.path, entry=written.entry, shards=shards)
            return indexes, np.concatenate([np.asarray(index.cameras) for index in indexes])

        return cost(open_it)


def check_an_index(num_rows: int) -> tuple[float, float]:
    """SHA-256 of an index's bytes, once per node."""
    data = bytes(1 << 20)

    def digest() -> None:
        found = hashlib.sha256()
        for _ in range(num_rows * INDEX_BYTES >> 20):
            found.update(data)

    return cost(digest)


def sort_labels(num_rows: int) -> tuple[float, float]:
    from daam.dataset.sampling.samplers import RowsByIdentity

    generator = np.random.default_rng(0)
    identities = generator.integers(0, int(num_rows * IDENTITIES_PER_ROW), num_rows)
    cameras = generator.integers(0, 15, num_rows, dtype=np.int32)
    return cost(lambda: RowsByIdentity(identities, cameras))


def make_a_batch(num_rows: int) -> tuple[float, float]:
    """One batch of 16 people with 4 images each; the mean of 500."""
    from daam.dataset.sampling.samplers import IdentityBatches, RowsByIdentity

    generator = np.random.default_rng(0)
    identities = generator.integers(0, int(num_rows * IDENTITIES_PER_ROW), num_rows)
    cameras = generator.integers(0, 15, num_rows, dtype=np.int32)
    sampler = IdentityBatches(
        RowsByIdentity(identities, cameras),
        identities_per_batch=16,
        images_per_identity=4,
        seed=0,
        epoch=0,
    )
    seconds, megabytes = cost(lambda: [sampler.batch(step) for step in range(500)][:0])
    return seconds / 500, megabytes


WORK: dict[str, Callable[[int], tuple[float, float]]] = {
    "read a manifest": read_a_manifest,
    "check an index": check_an_index,
    "open an index": open_an_index,
    "sort labels": sort_labels,
    "make a batch": make_a_batch,
}


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, and private MB that are still allocated afterwards."""
    before, begun = private_mb(), time.process_time()
    held = work()
    took = time.process_time() - begun
    kept = private_mb() - before
    del held
    return took, kept


def private_mb() -> float:
    """Memory without mapped files."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def manifest_of(num_rows: int, *, shard_bytes: int = 64 * MIB):
    """A manifest as long as that of so many rows."""
    from daam.dataset.format.manifest import (
        DomainManifest,
        ImportSettings,
        ShardEntry,
        SplitManifest,
    )
    from daam.domains import Split

    per_shard = rows_per_shard(shard_bytes)

    def entry(name: str, rows: int) -> ShardEntry:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return ShardEntry(
            key=f"people/{name}-{digest[:16]}.arrow",
            num_rows=rows,
            size_bytes=rows * IMAGE_BYTES + 4096,
            sha256=digest,
        )

    shards = [
        entry(f"train-{first // per_shard:05d}", min(per_shard, num_rows - first))
        for first in range(0, num_rows, per_shard)
    ]
    split = SplitManifest(
        num_rows=num_rows,
        num_cameras=15,
        shards=tuple(shards),
        index=entry("train-index", num_rows),
        labels=entry("train-labels", num_rows),
    )
    settings = ImportSettings(
        validation_share=0.25, without_val=False, reencoded=None, shard_size_bytes=shard_bytes
    )
    return DomainManifest(
        domain="people",
        layout="csv",
        settings=settings,
        splits={Split.TRAIN: split},
        skipped={},
    )


def rows_per_shard(shard_bytes: int) -> int:
    return shard_bytes // IMAGE_BYTES


# Simulated.


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Assumptions. Rates are per second; `fills` says whether whole shards are fetched too.

    `requests_per_node` is the most that a node's 8 processes complete, with 16 requests in flight
    each, of 20 ms.
    """

    rows: int = 100_000_000
    nodes: int = 64
    images_per_node: float = 8_000
    link_bytes: float = 25e9 / 8
    link_spread: float = 0.1
    store_bytes: float = 100e9
    store_requests: float = 5_500 * 16
    requests_per_node: float = 8 * 16 / 0.02
    cache_bytes: float = 2e12
    fills: bool = True

    @property
    def data_bytes(self) -> float:
        return self.rows * IMAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Time series by second: (T,) each."""

    images: np.ndarray
    requests: np.ndarray
    store_bytes: np.ndarray
    cached: np.ndarray


def simulate(cluster: Cluster, *, seconds: int) -> Course:
    """Step all nodes from an empty cache, the index being local."""
    generator = np.random.default_rng(0)
    spread = np.exp(cluster.link_spread * generator.standard_normal(cluster.nodes))
    link_N = cluster.link_bytes * np.minimum(spread, 1)
    cached_N = np.zeros(cluster.nodes)
    most = min(1.0, cluster.cache_bytes / cluster.data_bytes)
    course = np.zeros((seconds, 4))
    # A store at its request limit gives half of it to each kind of request.
    row_requests = cluster.store_requests / (2 if cluster.fills else 1)
    for second in range(seconds):
        missing_N = 1 - cached_N
        worst = max(missing_N.max(), 1e-12)
        # All nodes make the same number of images, as many as the tightest limit lets through.
        rate = min(
            cluster.images_per_node,
            cluster.requests_per_node / worst,
            row_requests / max(missing_N.sum(), 1e-12),
            float((link_N / IMAGE_BYTES / np.maximum(missing_N, 1e-12)).min()),
            cluster.store_bytes / IMAGE_BYTES / max(missing_N.sum(), 1e-12),
        )
        asked_N = rate * missing_N * IMAGE_BYTES
        fill_N = np.zeros(cluster.nodes)
        if cluster.fills:
            fill_N = np.minimum(link_N - asked_N, missing_N * cluster.data_bytes)
            left = min(
                cluster.store_bytes - asked_N.sum(),
                (cluster.store_requests - rate * missing_N.sum()) * FILL_REQUEST_BYTES,
            )
            fill_N *= min(1.0, left / max(fill_N.sum(), 1e-12))
        course[second] = (
            rate * cluster.nodes,
            rate * missing_N.sum() + fill_N.sum() / FILL_REQUEST_BYTES,
            asked_N.sum() + fill_N.sum(),
            cached_N.mean(),
        )
        cached_N = np.minimum(cached_N + (asked_N + fill_N) / cluster.data_bytes, most)
    return Course(
        images=course[:, 0],
        requests=course[:, 1],
        store_bytes=course[:, 2],
        cached=course[:, 3],
    )


def report(results: dict[str, list[float]], *, picture: Path | None) -> None:
    """Print the tables of docs/benchmarks/scaling.md."""
    rows = Cluster().rows
    largest = max(ROWS_MEASURED)
    print("| | 1 M rows | 10 M rows | 100 M rows, in proportion |")
    print("|---|---|---|---|")
    for name in WORK:
        if any(f"{name}, {n}" not in results for n in ROWS_MEASURED):
            continue
        found = [results[f"{name}, {n}"] for n in ROWS_MEASURED]
        grown = [value * (1 if name == "make a batch" else rows / largest) for value in found[-1]]
        cells = [f"{1e3 * s:,.2f} ms, {mb:,.0f} MB" for s, mb in (*found, grown)]
        print(f"| {name} | {' | '.join(cells)} |")

    print("\n| shards of | how many | manifest, MB |")
    print("|---|---|---|")
    for shard_bytes in (64 * MIB, 256 * MIB, 1024 * MIB):
        manifest = len(manifest_of(rows // 100, shard_bytes=shard_bytes).to_json()) * 100
        count = -(-rows // rows_per_shard(shard_bytes))
        print(f"| {shard_bytes // MIB} MiB | {count:,} | {manifest / 1e6:.1f} |")
    for name, size in (
        ("images", IMAGE_BYTES),
        ("index", INDEX_BYTES),
        ("labels, names included", IDENTITY_LABEL_BYTES + NAME_BYTES),
    ):
        print(f"{name}: {rows * size / 1e9:,.1f} GB")

    courses = {name: simulate(cluster, seconds=3600) for name, cluster in SCENARIOS.items()}
    print("\n| | images/s, first minute | full speed after | requests/s, most | GB/s, most | TB |")
    print("|---|---|---|---|---|---|")
    for name, course in courses.items():
        cluster = SCENARIOS[name]
        full = np.flatnonzero(course.images >= 0.95 * cluster.images_per_node * cluster.nodes)
        after = f"{full[0]:,} s" if len(full) else "never in the hour"
        print(
            f"| {name} | {course.images[:60].mean():,.0f} | {after} | "
            f"{course.requests.max():,.0f} | {course.store_bytes.max() / 1e9:,.1f} | "
            f"{course.store_bytes.sum() / 1e12:,.1f} |"
        )
    if picture is not None:
        draw(courses, to=picture)


SCENARIOS = {
    "as built": Cluster(),
    "one prefix of 5,500 requests/s": replace(Cluster(), store_requests=5_500),
    "a store of 10 GB/s": replace(Cluster(), store_bytes=10e9),
    "rows alone, nothing filled": replace(Cluster(), fills=False),
    "8 nodes": replace(Cluster(), nodes=8),
}


def draw(courses: dict[str, Course], *, to: Path) -> None:
    from matplotlib.figure import Figure

    from daam.plots.palette import CYCLE

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    speed, full = figure.subplots(1, 2)
    for axes in (speed, full):
        axes.set_prop_cycle(color=CYCLE)
    for name, course in courses.items():
        share = course.images / (SCENARIOS[name].images_per_node * SCENARIOS[name].nodes)
        speed.plot(np.arange(len(share)) / 60, share, label=name)
        full.plot(np.arange(len(share)) / 60, course.cached, label=name)
    speed.set(title="training speed, share of full", xlabel="minutes", ylim=(0, 1.05))
    full.set(title="cache of a node, share of the data", xlabel="minutes", ylim=(0, 1.05))
    speed.legend(fontsize=8, frameon=False)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, dpi=120)


if __name__ == "__main__":
    main()
