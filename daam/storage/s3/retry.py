"""When a request to S3 is made again, and when it is given up.

What may pass is tried again: a server that says it is busy or broken, a connection that breaks, an
answer that does not come or stops half-way. The wait before each new try is random, between nothing
and a bound that doubles (full jitter), so that the workers of a cluster do not come back together;
a server that names a time is given that time. An operation that makes no progress for its deadline
is given up. One exception: a server that has never answered this process is more likely a wrong
address than a broken server, and is given up after a few tries.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 5.0
TRIES_OF_A_STRANGER = 6
# Shares of the deadline: what one try may wait for a connection, and for the next bytes.
CONNECT_SHARE, READ_SHARE = 1 / 24, 1 / 6

BUSY_STATUSES = frozenset({429, 500, 502, 503, 504})
BUSY_CODES = frozenset(
    {"InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"}
    | {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequests"}
)
# An upload that changed on the way.
CHANGED_CODES = frozenset({"BadDigest", "XAmzContentSHA256Mismatch"})
BROKEN_OFF = (
    boto.ConnectionClosedError,
    boto.IncompleteReadError,
    boto.ReadTimeoutError,
    boto.ResponseStreamingError,
    HTTPError,  # in a body, where botocore does not translate all of them: a bad TLS record
)
# The last is the base of two that are BROKEN_OFF, which is asked for first.
UNREACHABLE = (
    boto.ConnectTimeoutError,
    boto.EndpointConnectionError,
    boto.ProxyConnectionError,
    boto.SSLError,
    boto.HTTPClientError,
)


class Patience:
    """How much longer one operation goes on trying."""

    def __init__(self, *, deadline_s: float, abandoned: Callable[[], bool] = lambda: False) -> None:
        """
        Args:
            deadline_s: without progress after which no more is tried.
            abandoned: whether nobody waits for the result any more.
        """
        self._deadline_s = deadline_s
        self._abandoned = abandoned
        self._since = time.monotonic()
        self._num_failures = 0

    def progressed(self) -> None:
        """Begin the deadline anew: bytes have come."""
        self._since = time.monotonic()
        self._num_failures = 0

    def wait_s(self, *, asked_s: float = 0.0, num_tries: int | None = None) -> float | None:
        """Seconds to wait before the next try, or None to give up.

        Args:
            asked_s: the least that the server has asked for.
            num_tries: the most there may be in all.
        """
        self._num_failures += 1
        if self._abandoned() or self._num_failures == num_tries:
            return None
        bound_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**self._num_failures)
        wait_s = max(asked_s, random.uniform(0, bound_s))
        # The next try must be over before the deadline too.
        left_s = self._deadline_s * (1 - READ_SHARE) - (time.monotonic() - self._since)
        return wait_s if wait_s <= left_s else None


_current: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def waiting(patience: Patience) -> Iterator[None]:
    """Have the requests made in this block share one patience."""
    token = _current.set(patience)
    try:
        yield
    finally:
        _current.reset(token)


class Retries:
    """Tells one client when to try again; registered for the events of botocore."""

    def __init__(self, *, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._answered = False

    def register(self, client: Any) -> None:
        """Decide over the client's requests from now on."""
        client.meta.events.register("before-call.s3", self._begin)
        client.meta.events.register_first("needs-retry.s3", _follow_no_blind_redirect)
        client.meta.events.register("needs-retry.s3", self._wait_s)

    def _begin(self, params: dict[str, Any], **_: object) -> None:
        patience = _current.get() or Patience(deadline_s=self._deadline_s)
        params["context"]["patience"] = patience

    def _wait_s(
        self,
        response: tuple[Any, dict[str, Any]] | None,
        caught_exception: Exception | None,
        request_dict: dict[str, Any],
        **_: object,
    ) -> float | None:
        patience: Patience = request_dict["context"]["patience"]
        if response is not None:
            self._answered = True
            http, parsed = response
            code = parsed.get("Error", {}).get("Code")
            if http.status_code in BUSY_STATUSES or code in BUSY_CODES | CHANGED_CODES:
                return patience.wait_s(asked_s=seconds_asked(http.headers.get("Retry-After")))
        if isinstance(caught_exception, BROKEN_OFF):
            return patience.wait_s()
        if isinstance(caught_exception, UNREACHABLE):
            return patience.wait_s(num_tries=None if self._answered else TRIES_OF_A_STRANGER)
        return None


def _follow_no_blind_redirect(
    response: tuple[Any, dict[str, Any]] | None, request_dict: dict[str, Any], **_: object
) -> None:
    # Where a redirection names no region, botocore asks the bucket for it, and for ever if that is
    # redirected as well: any web server that sends http to https does so.
    if response is not None:
        headers = response[1].get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region") or response[1].get("Error", {}).get("Region")
        if not region and "s3_redirect" in request_dict["context"]:
            request_dict["context"]["s3_redirect"]["redirected"] = True


def seconds_asked(header: str | None) -> float:
    """What a Retry-After header asks for: a number of seconds or a date; 0 if it is neither."""
    if header is None:
        return 0.0
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        return 0.0
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
