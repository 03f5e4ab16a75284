"""Uploads carry their MD5, which every S3 server compares: it refuses what changed on the way.

A signed request has a SHA-256 too, but only some servers look at it, and over https there is none.
"""

import base64
import hashlib
from typing import Any

from daam.storage.store import CHUNK_SIZE_BYTES

UPLOADS = ("PutObject", "UploadPart")


def send_checksums(client: Any) -> None:
    """Have a client of boto3 add the checksum to each upload from now on."""
    for operation in UPLOADS:
        client.meta.events.register(f"before-call.s3.{operation}", _add_md5)


def _add_md5(params: dict[str, Any], **_: object) -> None:
    body = params["body"]
    digest = hashlib.md5(usedforsecurity=False)
    if isinstance(body, bytes | bytearray):
        digest.update(body)
    else:
        start = body.tell()
        while chunk := body.read(CHUNK_SIZE_BYTES):
            digest.update(chunk)
        body.seek(start)
    params["headers"]["Content-MD5"] = base64.b64encode(digest.digest()).decode()
