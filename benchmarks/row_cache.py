"""What the row cache costs and saves: first rows from a store 20 ms away, then cached rows.

Run it from the repository: python -m benchmarks.row_cache. Rounds are interleaved; medians.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.loader import BUCKET, bucket_server
from benchmarks.loaders.place import set_credentials
from benchmarks.measuring import Cost, timed
from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.reading.image_table import ImageTable, open_images
from daam.domains import Split
from daam.storage import Store, open_store
from tests.support.fault_proxy import FaultProxy, Rule
from tests.support.rows_on_s3 import put_rows

NUM_ROWS, SIZES_BYTES, SHARD_SIZE_BYTES = 12_936, (8_000, 15_000), 64 << 20
LATENCY_S = 0.02
ROUNDS = 5
BATCH = 64


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="daam-row-cache-") as name:
        folder = Path(name)
        served = folder / "served"
        put_rows(
            open_store(str(served / BUCKET)),
            num_rows=NUM_ROWS,
            sizes_bytes=SIZES_BYTES,
            shard_size_bytes=SHARD_SIZE_BYTES,
            folder=folder,
        )
        cache = folder / "cache"
        with bucket_server(served, measured=served) as server:
            for number in range(ROUNDS + 1):  # the server reads its files for the first time
                for side, work in {"rows": first_rows, "shards": first_rows_of_shards}.items():
                    cache = folder / f"cache-{number}-{side}"
                    print(f"round {number}, {side}: {measured(work, server=server, cache=cache)}")
            set_credentials(server)
            measure_requests(open_store(f"s3://{BUCKET}"))
            measure_warm(open_store(f"s3://{BUCKET}"), cache)


def measured(work: Callable[[Store, Path], None], *, server: str, cache: Path) -> str:
    """Say what one side's first rows cost, the connection paid."""
    with FaultProxy(server, rule=Rule(latency_s=LATENCY_S)) as proxy:
        set_credentials(proxy.endpoint)
        store = open_store(f"s3://{BUCKET}")
        store.exists("plaza/manifest.json")
        before = sum(proxy.bytes_sent.values())
        cost, _ = timed(lambda: work(store, cache))
        megabytes = (sum(proxy.bytes_sent.values()) - before) / 1e6
    return f"{1e3 * cost.wall_s:.0f} ms, CPU {1e3 * cost.cpu_s:.0f} ms, {megabytes:.1f} MB"


def open_rows(store: Store, cache: Path) -> ImageTable:
    manifest = read_manifest(store, "plaza")
    return open_images(store, manifest=manifest, splits=[Split.TRAIN], cache=ShardCache(cache))


def first_rows(store: Store, cache: Path) -> None:
    images = open_rows(store, cache)
    images.jpegs(np.random.default_rng(0).integers(0, NUM_ROWS, BATCH))
    images.close()


def first_rows_of_shards(store: Store, cache: Path) -> None:
    images = open_rows(store, cache)
    images.jpegs(np.arange(NUM_ROWS))
    images.close()
    first_rows(store, cache)


def measure_requests(store: Store) -> None:
    """What an image costs us by the size of the requests, the server's side not counted."""
    (entry, *_) = read_manifest(store, "plaza").split(Split.TRAIN).shards
    image_bytes = sum(SIZES_BYTES) // 2

    def images_by(num_images: int, *, num_requests: int) -> float:
        size = num_images * image_bytes

        def read_all() -> None:
            for number in range(num_requests):
                start = number * size % (entry.size_bytes - size)
                store.read_range(entry.key, start=start, size=size)

        return timed(read_all)[0].cpu_s / (num_requests * num_images)

    sides: dict[str, Callable[[], float]] = {
        "alone": lambda: images_by(1, num_requests=200),
        "with 180 neighbours": lambda: images_by(180, num_requests=20),
    }
    costs: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, work in sides.items():
            costs[side].append(work())
    for side, rounds in costs.items():
        print(f"an image fetched {side}: {1e6 * median(rounds):.0f} us CPU")


def measure_warm(store: Store, cache: Path) -> None:
    images = open_rows(store, cache)
    images.jpegs(np.array([images.shards[number][0] for number in range(len(images.shards))]))
    first, _ = timed(lambda: images.jpegs(np.arange(NUM_ROWS)))
    print(f"first touch: {1e6 * first.cpu_s / NUM_ROWS:.1f} us CPU a row")
    rows = np.random.default_rng(0).integers(0, NUM_ROWS, 128 * BATCH)
    sides: dict[str, Callable[[], object]] = {
        "one by one": lambda: [images.jpegs(row) for row in rows.reshape(-1, 1)],
        f"batches of {BATCH}": lambda: [images.jpegs(batch) for batch in rows.reshape(-1, BATCH)],
    }
    costs: dict[str, list[Cost]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, work in sides.items():
            costs[side].append(timed(work)[0])
    for side, rounds in costs.items():
        seconds = median(cost.cpu_s for cost in rounds)
        print(
            f"{side}: {len(rows) / seconds:,.0f} rows/s, {1e6 * seconds / len(rows):.2f} us a row"
        )


if __name__ == "__main__":
    main()
