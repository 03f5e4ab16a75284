"""Uploads: small objects by one request, large ones in parallel parts.

Each request carries the MD5 of its bytes, which every S3 server compares. A signed request has a
SHA-256 too, but only some servers verify it, and over https boto3 sends none.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from daam.storage.s3.connection import Connection
from daam.storage.s3.retry import RetryBudget

PART_SIZE_BYTES = 16 << 20
MAX_PARALLEL_PARTS = 4
PAGE = "text/html; charset=utf-8"
MAX_PARTS = 10_000  # of an object, by S3's rules


def upload(file: BinaryIO, connection: Connection, place: dict[str, str]) -> None:
    """Publish all bytes of a file.

    Args:
        place: the parameters Bucket and Key.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size_bytes <= 2 * PART_SIZE_BYTES:
        # So that a browser shows a report instead of saving it.
        kind = {"ContentType": PAGE} if place["Key"].endswith(".html") else {}
        connection.call("put_object", {**place, **kind, **_checked(file.read())})
    else:
        _upload_parts(file, connection, place, size_bytes=size_bytes)


def _upload_parts(
    file: BinaryIO, connection: Connection, place: dict[str, str], *, size_bytes: int
) -> None:
    part_bytes = max(PART_SIZE_BYTES, -(-size_bytes // MAX_PARTS))
    numbers = range(1, -(-size_bytes // part_bytes) + 1)
    target = {**place, "UploadId": connection.call("create_multipart_upload", place)["UploadId"]}
    reading = threading.Lock()

    def upload_part(number: int) -> dict[str, Any]:
        with reading:
            file.seek((number - 1) * part_bytes)
            data = file.read(part_bytes)
        part = {**target, "PartNumber": number, **_checked(data)}
        answer = connection.call("upload_part", part)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    try:
        with ThreadPoolExecutor(MAX_PARALLEL_PARTS, thread_name_prefix="s3-upload") as pool:
            parts = list(pool.map(upload_part, numbers))
        whole = {**target, "MultipartUpload": {"Parts": parts}}
        connection.call("complete_multipart_upload", whole)
    except BaseException:
        with suppress(BotoCoreError, ClientError, HTTPError):
            connection.call("abort_multipart_upload", target, budget=RetryBudget(deadline_s=0))
        raise


def _checked(data: bytes) -> dict[str, Any]:
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return {"Body": data, "ContentMD5": base64.b64encode(digest).decode()}
