"""Bytes by key: one interface over `s3://` buckets and local folders."""

from daam.storage.opening import open_parent, open_store
from daam.storage.store import MissingKeyError, Store

__all__ = ["MissingKeyError", "Store", "open_parent", "open_store"]
