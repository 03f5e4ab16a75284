"""Open the store or file that an address names."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from daam.errors import StorageError
from daam.storage.local import LocalStore
from daam.storage.store import Store, check_key


def open_store(uri: str) -> Store:
    """Open `s3://bucket/prefix`, `file:///folder` or a path to a local folder.

    Nothing is contacted or created yet. The address of an S3 store may have settings,
    `s3://bucket/prefix?endpoint=https://host:9000&region=eu-west-1` (see `S3Settings`). For other
    settings and for all credentials, the standard AWS environment variables and files of the
    process apply (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_PROFILE`, `~/.aws`, ...).

    Raises:
        StorageError: the address has another scheme, names no bucket or folder, has an unknown
            setting, or holds credentials.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        if not uri:
            raise StorageError("the store's address is empty; give s3://bucket/prefix or a folder")
        if uri.startswith("s3:"):
            raise StorageError("an address on S3 has two slashes, as in s3://bucket/prefix")
        return LocalStore(Path(uri))
    if scheme == "s3":
        # Importing boto3 takes a tenth of a second, which local runs need not pay.
        from daam.storage.s3 import S3Store
        from daam.storage.s3.address import S3Address

        return S3Store(S3Address.parse(uri))
    if scheme == "file":
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise StorageError("this is not a local folder; write file:///absolute/folder")
        if parts.query or parts.fragment:
            raise StorageError("a file:// address has no settings; write ? as %3F and # as %23")
        return LocalStore(Path(unquote(parts.path)))
    raise StorageError(
        f"stores of the kind {scheme}:// are not supported; give s3://bucket/prefix or a folder"
    )


def open_parent(address: str) -> tuple[Store, str]:
    """Split the address of a file into its store and its key there.

    Raises:
        StorageError: it names no file or cannot be a key, or as for `open_store`.
    """
    place, mark, settings = address.partition("?") if "://" in address else (address, "", "")
    folder, slash, name = place.rpartition("/")
    if not name or folder.endswith(":/"):
        raise StorageError("the address names a folder; give that of a file")
    return open_store(f"{folder or slash or '.'}{mark}{settings}"), check_key(name)
