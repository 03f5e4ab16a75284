"""What this process has read so far: images, and bytes of remote stores."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Totals of all tables of images since the process began.

    Threads add to them without a lock, which a child forked at the wrong moment would inherit
    locked. A lost count does no harm.

    Attributes:
        num_images: that were asked for.
        num_missing: of these, how many were not in the cache.
        size_bytes: of images that were fetched from remote stores, prefetched ones included.
    """

    num_images: int = 0
    num_missing: int = 0
    size_bytes: int = 0


TRAFFIC = Traffic()
