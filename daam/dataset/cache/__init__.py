"""The node's cache: what is fetched from remote stores, once for all processes of the node.

Which file answers which question:
    shard_cache     where is what, and who may fetch it?     (locks: how files are locked)
    space           what is evicted when there is no room?
    shard_file      how does one shard lie on the disk?
    cached_shard    how is an image or a part of a shard fetched?
    fetcher         how do readers get the images they need now?
    prefetcher      how does the rest arrive in the background?
    traffic         how much was read, and how much of it from the store?
"""

from daam.dataset.cache.shard_cache import ShardCache

__all__ = ["ShardCache"]
