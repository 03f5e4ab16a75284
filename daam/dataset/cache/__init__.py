"""The node's cache: images of remote shards, each fetched once for all processes of the node."""

from daam.dataset.cache.shard_cache import ShardCache, checked_chunks

__all__ = ["ShardCache", "checked_chunks"]
