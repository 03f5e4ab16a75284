"""Four processes that read as trials do: three epochs of a transfer's two domains, and back.

    python tests/support/trials_on_one_node.py STORE CACHE DOMAIN DOMAIN

They share the folder of the cache and nothing else, and begin at once.
"""

import multiprocessing
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities
from daam.domains import Split
from daam.storage import open_store

NUM_TRIALS, NUM_EPOCHS, BATCH_SIZE = 4, 3, 16


def trial(number: int, begin: Barrier, uri: str, folder: str, source: str, target: str) -> None:
    """Read all train images in random batches, each epoch; the source's labels too."""
    store, cache = open_store(uri), ShardCache(Path(folder))
    generator = np.random.default_rng(number)
    begin.wait()
    for domains in ((source, target), (target, source)):
        splits = (Split.TRAIN,)
        manifests = [read_manifest(store, domain) for domain in domains]
        read_identities(store, manifest=manifests[0], splits=splits, cache=cache)
        tables = [
            open_images(store, manifest=manifest, splits=splits, cache=cache)
            for manifest in manifests
        ]
        for _ in range(NUM_EPOCHS):
            for table in tables:
                rows = generator.permutation(table.num_rows)
                for start in range(0, len(rows), BATCH_SIZE):
                    table.jpegs(rows[start : start + BATCH_SIZE])
                    table.prefetch(range(len(table.shards)))
        for table in tables:
            table.close()


def main() -> None:
    """Run the trials to their ends; the exit status is the number of those that failed."""
    fork = multiprocessing.get_context("fork")
    begin = fork.Barrier(NUM_TRIALS)
    trials = [
        fork.Process(target=trial, args=(number, begin, *sys.argv[1:]))
        for number in range(NUM_TRIALS)
    ]
    for process in trials:
        process.start()
    for process in trials:
        process.join()
    sys.exit(sum(process.exitcode != 0 for process in trials))


if __name__ == "__main__":
    main()
