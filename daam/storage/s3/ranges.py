"""Small ranges of large objects, many a second.

boto3 spends two milliseconds of a processor on a request: it builds it, signs it and reads the
answer's every header. A ranged read of an object needs little of that. The signature need not cover
the range, so that one signature of an object holds for all its ranges, for as long as the server
takes it. What does not succeed here at once is left to boto3, with its redirections, its new tries
and its errors: None stands for that.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import closing
from typing import Any

import botocore.exceptions as boto
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, HeadersDict
from urllib3.exceptions import HTTPError

from daam.storage.s3.connection import Connection

# Servers take a signature for 15 minutes, by their clock.
SIGNED_FOR_S = 60.0
SIGNATURES_KEPT = 4096


class RangeRequests:
    """Ranged reads over one connection; safe to share between threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # The client's own pool of connections, with its proxies and certificates.
        self._http: Any = connection.client._endpoint.http_session
        self._lock = threading.Lock()
        self._signing = threading.Lock()
        self._signed: OrderedDict[tuple[str, str], tuple[float, str, dict[str, str]]] = (
            OrderedDict()
        )

    def read(self, *, Bucket: str, Key: str, start: int, size: int) -> bytes | None:
        """The bytes, or None if they did not come at once."""
        try:
            url, headers = self._signature(Bucket, Key)
            request = AWSPreparedRequest(
                method="GET",
                url=url,
                headers=HeadersDict({**headers, "Range": f"bytes={start}-{start + size - 1}"}),
                body=None,
                stream_output=True,
            )
            response = self._http.send(request)
            span = f"bytes {start}-{start + size - 1}/"
            with closing(response.raw) as body:
                # Some say 200 where 206 is meant: what counts is which bytes they say they send.
                if response.status_code not in (200, 206):
                    return None
                if not response.headers.get("Content-Range", "").startswith(span):
                    return None
                # At once: in pieces that are put together it takes twice the processor time. A
                # connection whose answer was read to its end is back in the pool then.
                data: bytes = body.read(size)
        except (boto.BotoCoreError, HTTPError, OSError):
            return None
        return data if len(data) == size else None

    def _signature(self, bucket: str, key: str) -> tuple[str, dict[str, str]]:
        """Where the object is, and headers that say who asks."""
        if (known := self._known(bucket, key)) is not None:
            return known
        # Many threads begin with the same object: one signs it, the others wait for that.
        with self._signing:
            if (known := self._known(bucket, key)) is not None:
                return known
            now = time.monotonic()
            url, headers = self._sign(bucket, key)
            with self._lock:
                self._signed[bucket, key] = now, url, headers
                while len(self._signed) > SIGNATURES_KEPT:
                    self._signed.popitem(last=False)
            return url, headers

    def _known(self, bucket: str, key: str) -> tuple[str, dict[str, str]] | None:
        """A signature that is still taken."""
        with self._lock:
            found = self._signed.get((bucket, key))
        if found is None or time.monotonic() - found[0] >= SIGNED_FOR_S:
            return None
        return found[1:]

    def _sign(self, bucket: str, key: str) -> tuple[str, dict[str, str]]:
        link = self._connection.client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}
        )
        url = link.partition("?")[0]
        request = AWSRequest(method="GET", url=url)
        request.context["client_config"] = self._connection.client.meta.config
        credentials = self._connection.credentials()
        if credentials is not None:
            S3SigV4Auth(credentials, "s3", self._connection.region).add_auth(request)
        return url, dict(request.headers.items())
