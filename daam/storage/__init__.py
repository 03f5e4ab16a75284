"""Bytes by key: one interface over `s3://` buckets and local folders.

`store`: the interface. `opening`: from an address to a store. `local`: folders. `s3`: buckets.
`atomic`: files that appear complete or not at all. `local_s3`: an S3 server for development.
"""

from daam.storage.opening import open_parent, open_store
from daam.storage.store import OUTAGES, MissingKeyError, Store

__all__ = ["OUTAGES", "MissingKeyError", "Store", "open_parent", "open_store"]
