"""Which shards are resident in the node's cache while batches are made of them."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from daam.dataset.pixels.reader import ImageSource

Batch = TypeVar("Batch")


def with_shards_resident(
    batches: Generator[Batch, None, None],
    images: ImageSource,
    *,
    shards_of: Callable[[int], Sequence[int]],
) -> Generator[Batch, None, None]:
    """Yield batches; keep the shards resident that the next ones are made of, and no others.

    The first batch has the store to itself: shards are prefetched once the second is asked for. A
    shard is released after a batch that no longer needs it: then no thread reads from it. After
    the last batch, and when closed, all are.

    Args:
        images: what the batches are made of.
        shards_of: the shards that a batch, by its number from 0, and those soon after it are made
            of; in order of need.
    """
    resident: Sequence[int] = ()
    try:
        with contextlib.closing(batches):
            for number, batch in enumerate(batches):
                yield batch
                wanted = shards_of(number)
                if wanted != resident:
                    images.release([shard for shard in resident if shard not in wanted])
                    images.prefetch([shard for shard in wanted if shard not in resident])
                    resident = wanted
    finally:
        images.release(resident)
