"""An ordered pass over a domain's images, to embed them."""

import bisect
from collections.abc import Generator

import numpy as np
from torch import Tensor

from daam.dataset.loader.residency import with_shards_resident
from daam.dataset.parallel import parallel_map
from daam.dataset.pixels.reader import Pixels
from daam.errors import ConfigError

BATCHES_PREFETCHED = 2  # besides one being made in each thread


def ordered_batches(
    reader: Pixels,
    *,
    batch_size: int,
    rank: int,
    num_ranks: int,
    num_threads: int,
) -> Generator[tuple[np.ndarray, Tensor], None, None]:
    """Yield `(rows, images)` over this rank's contiguous part of the rows, in order.

    Over all ranks each row comes exactly once: nothing is padded or repeated, so the last batch may
    be smaller and ranks may differ by one in their number of rows. A batch's shard and the next one
    are prefetched.

    Args:
        reader: the domain's pixels.
        batch_size: rows in a batch of this rank.
        rank: from 0 to `num_ranks` - 1.
        num_ranks: ranks that share the pass.
        num_threads: threads that decode, each a whole batch at a time.

    Yields:
        rows (B,) int64 and images (B, H, W, 3) uint8, not augmented.

    Raises:
        ConfigError: there is no such rank, or no thread (raised by the call).
        DataError: an image cannot be decoded (raised in place of its batch).
    """
    if not 0 <= rank < num_ranks:
        raise ConfigError(f"rank {rank} is not one of {num_ranks} ranks; count from 0")
    first = reader.num_rows * rank // num_ranks
    end = reader.num_rows * (rank + 1) // num_ranks

    def make_batch(start: int) -> tuple[np.ndarray, Tensor]:
        rows = np.arange(start, min(start + batch_size, end))
        return rows, reader.read(rows)

    batches = parallel_map(
        make_batch,
        range(first, end, batch_size),
        num_threads=num_threads,
        prefetch=BATCHES_PREFETCHED,
    )
    ends = [rows.stop for rows in reader.source.shards]

    def shards_of(number: int) -> tuple[int, ...]:
        shard = bisect.bisect(ends, first + number * batch_size)
        return tuple(range(shard, min(shard + 2, len(ends))))

    return with_shards_resident(batches, reader.source, shards_of=shards_of)
