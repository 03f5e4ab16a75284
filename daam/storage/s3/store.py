"""A bucket of any S3-compatible server as a store."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

from daam.errors import StorageError
from daam.storage.s3.address import S3Address
from daam.storage.s3.connection import Connection, connection
from daam.storage.s3.errors import as_storage_error, is_expired_credentials
from daam.storage.s3.reading import ObjectReader
from daam.storage.s3.writing import upload
from daam.storage.store import MissingKeyError, Store, check_key, check_prefix, check_range

# Error codes of a conditional write: the object exists, or is being written at the moment.
EXISTS = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict"})
UNKNOWN_CONDITION = frozenset({"501", "NotImplemented"})


class S3Store(Store):
    """Keys are the objects of a bucket, below a prefix.

    All stores of a process with the same settings share one connection.
    """

    def __init__(self, address: S3Address) -> None:
        self._address = address
        self._opened: tuple[int, Connection] | None = None

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _reopened, (self.uri,)

    @property
    def uri(self) -> str:
        return self._address.uri

    @property
    def name(self) -> str:
        return self._address.prefix.rpartition("/")[2] or self._address.bucket

    def locate(self, key: str) -> str:
        return self._address.below(check_key(key)).uri

    def read(self, key: str) -> bytes:
        return b"".join(self.chunks(key))

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._reader(key) as reader:
            yield from reader.chunks()

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        check_range(start=start, size=size)
        if size == 0:
            return b""
        with self._reader(key) as reader:
            return reader.range(start=start, size=size)

    def write(self, key: str, data: bytes) -> None:
        with self._connection("write", key) as connection:
            upload(io.BytesIO(data), connection, self._place(key))

    def create(self, key: str, data: bytes) -> bool:
        place = {**self._place(key), "Body": data, "IfNoneMatch": "*"}
        with self._connection("write", key) as connection:
            try:
                connection.call("put_object", place)
            except boto.ClientError as error:
                code = error.response.get("Error", {}).get("Code")
                if code in EXISTS:
                    return False
                if code not in UNKNOWN_CONDITION:
                    raise
                del place["IfNoneMatch"]
                connection.call("put_object", place)
        return True

    def upload(self, path: Path, key: str) -> None:
        try:
            file = path.open("rb")
        except OSError as error:
            raise StorageError(
                f"cannot read {path} to upload it: {error.strerror}; check that it is there"
            ) from error
        with file, self._connection("write", key) as connection:
            upload(file, connection, self._place(key))

    def versions(self, prefix: str = "") -> dict[str, str]:
        below = self._address.key("")
        wanted = {"Bucket": self._address.bucket, "Prefix": below + check_prefix(prefix)}
        found: dict[str, str] = {}
        with self._connection("list", prefix) as connection:
            while True:
                page = connection.call("list_objects_v2", wanted)
                found |= {item["Key"]: item["ETag"] for item in page.get("Contents", ())}
                if not page.get("IsTruncated"):
                    break
                wanted["ContinuationToken"] = page["NextContinuationToken"]
        # Some tools mark folders by empty objects whose key ends in a slash.
        return {
            key.removeprefix(below): tag for key, tag in sorted(found.items()) if key[-1] != "/"
        }

    def size(self, key: str) -> int:
        with self._reader(key, verb="look up") as reader:
            return reader.size()

    def delete(self, key: str) -> None:
        with suppress(MissingKeyError), self._connection("delete", key) as connection:
            connection.call("delete_object", self._place(key))

    def child(self, prefix: str) -> S3Store:
        inner = check_key(prefix.rstrip("/"))
        if "?" in inner:
            raise StorageError(f"{inner!r} cannot be a folder on S3; leave the question mark out")
        return S3Store(self._address.below(inner))

    def local_path(self, key: str) -> None:
        check_key(key)

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": self._address.key(check_key(key))}

    @contextmanager
    def _reader(self, key: str, *, verb: str = "read") -> Iterator[ObjectReader]:
        with self._connection(verb, key) as connection:
            yield ObjectReader(connection, self._place(key), uri=self.locate(key))

    @contextmanager
    def _connection(self, verb: str, key: str) -> Iterator[Connection]:
        """The connection for requests, whose errors become StorageErrors."""
        try:
            # A fork must not use its parent's sockets.
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = os.getpid(), connection(self._address.settings)
            yield self._opened[1]
        except (boto.BotoCoreError, boto.ClientError, HTTPError, RuntimeError, ValueError) as error:
            if isinstance(error, RuntimeError) and not is_expired_credentials(error):
                raise
            opened = self._opened[1] if self._opened else None
            explained = as_storage_error(
                error,
                doing=f"{verb} {self._address.below(key).uri if key else self.uri}",
                bucket=self._address.bucket,
                connection=opened,
            )
            # A server may repeat a secret in its message, and urllib3 parts of a proxy's address:
            # such a cause is not kept.
            is_clean = opened is None or opened.redact(str(error)) == str(error)
            is_clean &= type(error) is not boto.HTTPClientError
            raise explained from (error if is_clean else None)


def _reopened(uri: str) -> S3Store:
    return S3Store(S3Address.parse(uri))
