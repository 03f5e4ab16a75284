"""A bucket of any S3-compatible server as a store.

`address`: what an s3:// address may say. `store`: the operations, and their errors' boundary.
`reading`, `presigned`: how bytes come. `writing`: how they go. `connection`: client and
credentials. `retry`: when a request is repeated. `errors`: what a failure means.
"""

from daam.storage.s3.store import S3Store

__all__ = ["S3Store"]
