"""A bucket of any S3-compatible server as a store."""

from daam.storage.s3.store import S3Store

__all__ = ["S3Store"]
