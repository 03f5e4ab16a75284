"""A bucket of any S3-compatible server as a store.

Endpoint, region and credentials come from the standard AWS settings of the process that uses the
store. A failed request is tried 6 times in all, waiting longer each time, unless the server has
refused it for good. A server that accepts a connection and then says nothing is given up after
two minutes.
"""

from __future__ import annotations

import builtins
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions as boto
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from daam.errors import StorageError
from daam.storage.s3_errors import as_storage_error
from daam.storage.store import (
    CHUNK_SIZE_BYTES,
    MissingKeyError,
    Store,
    check_key,
    check_prefix,
    check_range,
)

DEFAULT_REGION = "us-east-1"
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20
ATTEMPTS = 6
FIRST_WAIT_S = 0.05
POOLED_CONNECTIONS = 32
PART_SIZE_BYTES = 16 << 20

CLIENT_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT_S,
    read_timeout=READ_TIMEOUT_S,
    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    max_pool_connections=POOLED_CONNECTIONS,
    tcp_keepalive=True,
    # Servers other than AWS do not all know the newer checksums that boto3 sends by default.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
TRANSFER_CONFIG = TransferConfig(
    multipart_threshold=2 * PART_SIZE_BYTES, multipart_chunksize=PART_SIZE_BYTES, max_concurrency=4
)
# A body that breaks off half-way is asked for again from where it broke off.
BROKEN_OFF = (
    boto.ConnectionClosedError,
    boto.IncompleteReadError,
    boto.ReadTimeoutError,
    boto.ResponseStreamingError,
)


class S3Store(Store):
    """Keys are the objects of a bucket, below a prefix."""

    def __init__(self, bucket: str, *, prefix: str = "") -> None:
        # The name is not repeated in the message: people do paste credentials in front of it.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
            raise StorageError(
                "an s3:// address must start with the name of a bucket, as in s3://bucket/prefix; "
                "credentials go into the environment or ~/.aws"
            )
        if prefix:
            check_key(prefix)
        self._bucket = bucket
        self._prefix = prefix
        self._connection = _Connection()

    def __getstate__(self) -> str:
        return self.uri

    def __setstate__(self, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self.__init__(bucket, prefix=prefix)

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, key: str) -> bytes:
        return b"".join(self.chunks(key))

    def chunks(self, key: str) -> Iterator[bytes]:
        position = 0
        total = None
        version = None
        failures = 0
        while total is None or position < total:
            with self._explained("read", key) as client:
                wanted = {"Range": f"bytes={position}-"} if position else {}
                response = client.get_object(**self._address(key), **wanted)
                if total is None:
                    total, version = response["ContentLength"], response.get("ETag")
                elif (response["ContentLength"], response.get("ETag")) != (
                    total - position,
                    version,
                ):
                    raise StorageError(
                        f"{self.uri}/{key} was replaced while it was read; try again"
                    )
                with closing(response["Body"]) as body:
                    try:
                        for chunk in body.iter_chunks(CHUNK_SIZE_BYTES):
                            yield chunk
                            position += len(chunk)
                            failures = 0
                    except BROKEN_OFF:
                        failures += 1
                        if failures == ATTEMPTS:
                            raise
                        time.sleep(random.uniform(0, FIRST_WAIT_S * 2**failures))

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        check_range(start=start, size=size)
        failures = 0
        data = b""
        while len(data) < size:
            with self._explained("read", key) as client:
                span = f"bytes={start + len(data)}-{start + size - 1}"
                response = client.get_object(**self._address(key), Range=span)
                with closing(response["Body"]) as body:
                    if "ContentRange" not in response:
                        raise StorageError(
                            f"cannot read {self.uri}/{key}: the server sends all of it when asked "
                            "for a part; put the domain on a store with ranged reads"
                        )
                    if response["ContentLength"] != size - len(data):
                        raise StorageError(
                            f"{self.uri}/{key} ends before byte {start + size}; it was cut or "
                            "replaced: write it again"
                        )
                    try:
                        for chunk in body.iter_chunks(CHUNK_SIZE_BYTES):
                            data += chunk
                            failures = 0
                    except BROKEN_OFF:
                        failures += 1
                        if failures == ATTEMPTS:
                            raise
                        time.sleep(random.uniform(0, FIRST_WAIT_S * 2**failures))
        return data

    def write(self, key: str, data: bytes) -> None:
        with self._explained("write", key) as client:
            client.put_object(**self._address(key), Body=data)

    def upload(self, path: Path, key: str) -> None:
        try:
            file = path.open("rb")
        except OSError as error:
            raise StorageError(
                f"cannot read {path} to upload it: {error.strerror}; check that it is there"
            ) from error
        with file, self._explained("write", key) as client:
            client.upload_fileobj(file, **self._address(key), Config=TRANSFER_CONFIG)

    def list(self, prefix: str = "") -> builtins.list[str]:
        start = f"{self._prefix}/" if self._prefix else ""
        with self._explained("list", prefix) as client:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=start + check_prefix(prefix)
            )
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        # Some tools mark folders by empty objects whose key ends in a slash.
        return sorted(key.removeprefix(start) for key in keys if not key.endswith("/"))

    def size(self, key: str) -> int:
        with self._explained("look up", key) as client:
            try:
                return client.head_object(**self._address(key))["ContentLength"]
            except boto.ClientError:
                # The answer to HEAD has no body to tell a missing key from a missing bucket.
                client.head_bucket(Bucket=self._bucket)
                raise

    def delete(self, key: str) -> None:
        with suppress(MissingKeyError), self._explained("delete", key) as client:
            client.delete_object(**self._address(key))

    def child(self, prefix: str) -> S3Store:
        inner = check_key(prefix.rstrip("/"))
        store = S3Store(self._bucket, prefix=f"{self._prefix}/{inner}" if self._prefix else inner)
        store._connection = self._connection
        return store

    def local_path(self, key: str) -> None:
        check_key(key)

    def _address(self, key: str) -> dict[str, str]:
        check_key(key)
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{key}" if self._prefix else key}

    @contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[Any]:
        """A client whose failures become StorageErrors."""
        place = f"{self.uri}/{key}".rstrip("/")
        try:
            yield self._connection.client()
        except (boto.BotoCoreError, boto.ClientError, ValueError) as error:
            raise as_storage_error(
                error,
                doing=f"{verb} {place}",
                bucket=self._bucket,
                endpoint=self._connection.endpoint_in_words(),
            ) from error


class _Connection:
    """The client of a process, made when it is first needed and shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None

    def client(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = boto3.Session().client(
                    "s3", config=CLIENT_CONFIG, region_name=_region()
                )
            return self._client

    def endpoint_in_words(self) -> str:
        """The server's address without the user and password that a URL can have."""
        if self._client is None:
            return "the S3 endpoint"
        return re.sub(r"//[^/@]*@", "//", self._client.meta.endpoint_url)


def _region() -> str:
    """The region by the standard settings; most servers other than AWS have only this default."""
    return os.environ.get("AWS_REGION") or boto3.Session().region_name or DEFAULT_REGION
