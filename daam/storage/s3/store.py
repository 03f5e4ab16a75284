"""A bucket of any S3-compatible server as a store."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import botocore.exceptions as boto
from boto3.s3.transfer import TransferConfig
from urllib3.exceptions import HTTPError

from daam.errors import StorageError
from daam.storage.s3.address import S3Address
from daam.storage.s3.connection import Connection, connection
from daam.storage.s3.errors import as_storage_error, is_of_expired_credentials
from daam.storage.s3.ranges import RangeRequests
from daam.storage.s3.reading import ObjectReader
from daam.storage.s3.retry import Patience
from daam.storage.store import MissingKeyError, Store, check_key, check_prefix, check_range

PART_SIZE_BYTES = 16 << 20
SMALL_BYTES = 4 << 20  # what is read at one go, before there is a client
TRANSFER_CONFIG = TransferConfig(
    multipart_threshold=2 * PART_SIZE_BYTES, multipart_chunksize=PART_SIZE_BYTES, max_concurrency=4
)


class S3Store(Store):
    """Keys are the objects of a bucket, below a prefix.

    All stores of a process with the same settings use one client. A forked process makes its own.
    """

    def __init__(self, address: S3Address) -> None:
        self._address = address
        self._opened: tuple[int, Connection, RangeRequests] | None = None

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _reopened, (self.uri,)

    @property
    def uri(self) -> str:
        return self._address.uri

    @property
    def name(self) -> str:
        return self._address.prefix.rpartition("/")[2] or self._address.bucket

    def locate(self, key: str) -> str:
        return self._address.below(key).uri

    def read(self, key: str) -> bytes:
        with self._explained("read", key) as (connection, ranges):
            patience = Patience(deadline_s=connection.settings.deadline_s)
            if connection.direct_endpoint is not None and not connection.has_client:
                data = ranges.whole(**self._object(key), most=SMALL_BYTES, patience=patience)
                if data is not None:
                    return data
            return b"".join(self._reader(connection, key).chunks(patience=patience))

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._explained("read", key) as (connection, _):
            yield from self._reader(connection, key).chunks()

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        check_range(start=start, size=size)
        if size == 0:
            return b""
        with self._explained("read", key) as (connection, ranges):
            patience = Patience(deadline_s=connection.settings.deadline_s)
            data = ranges.read(**self._object(key), start=start, size=size, patience=patience)
            if data is None:
                reader = self._reader(connection, key)
                data = reader.range(start=start, size=size, patience=patience)
            return data

    def write(self, key: str, data: bytes) -> None:
        self._send(io.BytesIO(data), key)

    def upload(self, path: Path, key: str) -> None:
        try:
            file = path.open("rb")
        except OSError as error:
            raise StorageError(
                f"cannot read {path} to upload it: {error.strerror}; check that it is there"
            ) from error
        with file:
            self._send(file, key)

    def list(self, prefix: str = "") -> builtins.list[str]:
        start = self._address.key(check_prefix(prefix))
        with self._explained("list", prefix) as (connection, _):
            pages = connection.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._address.bucket, Prefix=start
            )
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        # Some tools mark folders by empty objects whose key ends in a slash.
        start = self._address.key("")
        return sorted(key.removeprefix(start) for key in keys if not key.endswith("/"))

    def size(self, key: str) -> int:
        with self._explained("look up", key) as (connection, _):
            try:
                return connection.client.head_object(**self._object(key))["ContentLength"]
            except boto.ClientError:
                # The answer to HEAD has no body that says what is wrong; the answer to GET does.
                return self._reader(connection, key).size()

    def delete(self, key: str) -> None:
        with suppress(MissingKeyError), self._explained("delete", key) as (connection, _):
            connection.client.delete_object(**self._object(key))

    def child(self, prefix: str) -> S3Store:
        inner = check_key(prefix.rstrip("/"))
        if "?" in inner:
            raise StorageError(f"{inner!r} cannot be a folder on S3; leave the question mark out")
        return S3Store(self._address.below(inner))

    def local_path(self, key: str) -> None:
        check_key(key)

    def _send(self, file: BinaryIO, key: str) -> None:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        with self._explained("write", key) as (connection, _):
            if size_bytes < TRANSFER_CONFIG.multipart_threshold:
                connection.client.put_object(**self._object(key), Body=file)
            else:
                # In parts; when one of them fails for good, the server is told to drop the others.
                connection.client.upload_fileobj(file, **self._object(key), Config=TRANSFER_CONFIG)

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": self._address.key(check_key(key))}

    def _reader(self, connection: Connection, key: str) -> ObjectReader:
        return ObjectReader(
            connection,
            bucket=self._address.bucket,
            key=self._address.key(check_key(key)),
            place=self.locate(key),
        )

    @contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[tuple[Connection, RangeRequests]]:
        """What requests go through; their failures become StorageErrors."""
        doing = f"{verb} {self.locate(key)}" if key else f"{verb} {self.uri}"
        try:
            if self._opened is None or self._opened[0] != os.getpid():
                made = connection(self._address.settings)
                self._opened = os.getpid(), made, RangeRequests(made)
            yield self._opened[1:]
        except (boto.BotoCoreError, boto.ClientError, HTTPError, RuntimeError, ValueError) as error:
            if isinstance(error, RuntimeError) and not is_of_expired_credentials(error):
                raise
            found = self._opened[1] if self._opened else None
            explained = as_storage_error(
                error, doing=doing, bucket=self._address.bucket, connection=found
            )
            # A server may repeat a secret in its words, and urllib3 parts of a proxy's address:
            # such a cause is not kept.
            clean = found is None or found.hide(str(error)) == str(error)
            clean &= type(error) is not boto.HTTPClientError
            raise explained from (error if clean else None)


def _reopened(uri: str) -> S3Store:
    return S3Store(S3Address.parse(uri))
