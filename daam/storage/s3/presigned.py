"""GET requests by presigned URL, for .4 of the processor time that boto3 takes.

boto3 builds, signs and parses every request: 1.9 ms of CPU for a small range. A presigned URL does
not cover the Range header, so one signature serves all ranged reads of an object, and urllib3 sends
them for .75 ms. What fails here is repeated through boto3, which follows redirections and explains
errors.
"""

from __future__ import annotations

import threading
import time
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, SSLError

VALID_FOR_S = 900  # as long as servers accept a signed header: clocks may differ by that
REUSED_FOR_S = 60
MAX_URLS = 4096


class PresignedReads:
    """Reads through the URLs that a client signs; safe to share between threads."""

    def __init__(
        self, client: Any, *, timeout: urllib3.Timeout, ca_bundle: str | None, max_connections: int
    ) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._url = lru_cache(MAX_URLS)(self._signed)
        self._http: urllib3.PoolManager | None = None
        server = urlsplit(client.meta.endpoint_url)
        if server.scheme not in getproxies() or proxy_bypass(server.netloc):
            self._http = urllib3.PoolManager(
                maxsize=max_connections, timeout=timeout, ca_certs=ca_bundle
            )

    def get(self, place: dict[str, str], *, byte_range: str) -> urllib3.BaseHTTPResponse | None:
        """The response, its body not read yet; None if there is none or a proxy is in the way.

        Args:
            place: the parameters Bucket and Key.

        Raises:
            BotoCoreError: the URL cannot be signed.
        """
        http = self._http
        if http is None:
            return None
        with self._lock:  # threads that need the same URL wait for the first to sign it
            url = self._url(place["Bucket"], place["Key"], time.monotonic() // REUSED_FOR_S)
        try:
            return http.request(
                "GET",
                url,
                headers={"Range": byte_range},
                preload_content=False,
                redirect=False,
                retries=False,
            )
        except SSLError:
            self._http = None  # from now on through boto3, which may trust other certificates
        except (HTTPError, OSError):
            pass
        return None

    def _signed(self, bucket: str, key: str, period: float) -> str:
        del period  # part of the cache's key: a new period, a new signature
        return self._client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=VALID_FOR_S
        )
