"""Small ranges of large objects, many a second.

boto3 spends two milliseconds of a processor on a request: it builds it, signs it and reads the
answer's every header. A ranged read of an object needs little of that. The signature need not cover
the range, so that one signature of an object holds for all its ranges, for as long as the server
takes it. What does not succeed here at once is left to boto3, with its redirections, its new tries
and its errors: None stands for that.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import closing

import botocore.exceptions as boto
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, HeadersDict
from urllib3.exceptions import HTTPError

from daam.storage.s3.connection import Connection
from daam.storage.s3.direct import client_config, object_url
from daam.storage.s3.retry import BUSY_STATUSES, Patience, seconds_asked

# Servers take a signature for 15 minutes, by their clock.
SIGNED_FOR_S = 60.0
SIGNATURES_KEPT = 4096
SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class RangeRequests:
    """Ranged reads over one connection; safe to share between threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._signing = threading.Lock()
        self._signed: OrderedDict[tuple[str, str], tuple[float, str, dict[str, str]]] = (
            OrderedDict()
        )

    def read(
        self, *, Bucket: str, Key: str, start: int, size: int, patience: Patience
    ) -> bytes | None:
        """The bytes, or None if they did not come at once.

        A server that is busy is given the time that it asks for, as far as patience goes.
        """
        return self._answer(Bucket, Key, start, size, or_all=False, patience=patience)

    def whole(self, *, Bucket: str, Key: str, most: int, patience: Patience) -> bytes | None:
        """An object of `most` bytes or fewer, or None: it is larger, empty, or did not come at
        once. Patience as for `read`."""
        return self._answer(Bucket, Key, 0, most, or_all=True, patience=patience)

    def _answer(
        self, bucket: str, key: str, start: int, size: int, *, or_all: bool, patience: Patience
    ) -> bytes | None:
        try:
            url, headers = self._signature(bucket, key)
            request = AWSPreparedRequest(
                method="GET",
                url=url,
                headers=HeadersDict({**headers, "Range": f"bytes={start}-{start + size - 1}"}),
                body=None,
                stream_output=True,
            )
            response = self._connection.http.send(request)
            with closing(response.raw) as body:
                if response.status_code in BUSY_STATUSES:
                    asked_s = seconds_asked(response.headers.get("Retry-After"))
                    time.sleep(patience.wait_s(asked_s=asked_s) or 0)
                sent = _sent(response.status_code, response.headers)
                if sent is None:
                    return None
                first, end, total = sent
                if or_all:
                    size = min(size, total)
                if (first, end) != (start, start + size) or (or_all and total != size):
                    return None
                # At once: in pieces that are put together it takes twice the processor time. A
                # connection whose answer was read to its end is back in the pool then.
                data: bytes = body.read(size)
        except boto.NoCredentialsError:
            raise
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
        endpoint = self._connection.direct_endpoint
        if endpoint is None:
            link = self._connection.client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}
            )
            url = link.partition("?")[0]
        else:
            url = object_url(endpoint, bucket=bucket, key=key)
        request = AWSRequest(method="GET", url=url)
        request.context["client_config"] = client_config(self._connection.settings)
        credentials = self._connection.credentials()
        if credentials is None and not self._connection.settings.anonymous:
            raise boto.NoCredentialsError
        if credentials is not None:
            S3SigV4Auth(credentials, "s3", self._connection.region).add_auth(request)
        return url, dict(request.headers.items())


def _sent(status: int, headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Which bytes an answer says it has, from the first to before the last, and of how many."""
    if status not in (200, 206):
        return None
    # Some say 200 where 206 is meant: what counts is which bytes they say they send.
    span = SPAN.fullmatch(headers.get("Content-Range", ""))
    if span is not None:
        first, last, total = map(int, span.groups())
        return first, last + 1, total
    length = headers.get("Content-Length", "")
    if status == 200 and length.isdigit() and "Content-Encoding" not in headers:
        return 0, int(length), int(length)
    return None
