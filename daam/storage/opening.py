"""From a URI to a store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from daam.errors import StorageError
from daam.storage.local import LocalStore
from daam.storage.store import Store


def open_store(uri: str) -> Store:
    """Open `s3://bucket/prefix`, `file:///folder` or a path to a local folder.

    Nothing is contacted or created yet. An S3 store takes its endpoint, region and credentials
    from the standard AWS environment variables and files (`AWS_ENDPOINT_URL`, `AWS_REGION`,
    `AWS_PROFILE`, `~/.aws`, ...), in whichever process it is used.

    Raises:
        StorageError: the URI has another scheme or names no bucket or folder.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri:
            raise StorageError("the store's address is empty; give s3://bucket/prefix or a folder")
        return LocalStore(Path(uri))
    if scheme == "s3":
        # boto3 takes a third of a second to import: local runs do not pay for it.
        from daam.storage.s3 import S3Store

        bucket, _, prefix = rest.partition("/")
        return S3Store(bucket, prefix=prefix.strip("/"))
    if scheme == "file":
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise StorageError(f"{uri} is not a local folder; write file:///absolute/folder")
        return LocalStore(Path(unquote(parts.path)))
    raise StorageError(
        f"stores of the kind {scheme}:// are not supported; give s3://bucket/prefix or a folder"
    )
