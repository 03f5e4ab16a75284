"""A process that reads domains in turn through a cache that has no room for all of them.

    python tests/support/epochs_in_a_full_cache.py CACHE CAPACITY_BYTES STORE SOURCE [STORE SOURCE]

Every row of every epoch is compared with its file in the source folder; what is evicted is logged.
"""

import logging
import sys
from pathlib import Path

from daam.storage import open_store
from tests.support.one_epoch import check_an_epoch, read_source

NUM_ROUNDS = 4


def main() -> None:
    """Read an epoch of each domain, some times."""
    logging.basicConfig(level=logging.INFO)
    cache, capacity_bytes, *places = sys.argv[1:]
    for _ in range(NUM_ROUNDS):
        for uri, source in zip(places[::2], places[1::2], strict=True):
            check_an_epoch(
                open_store(uri),
                source=read_source(Path(source)),
                cache=Path(cache),
                capacity_bytes=int(capacity_bytes),
            )


if __name__ == "__main__":
    main()
