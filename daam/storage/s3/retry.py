"""When a request to S3 is repeated, and when it is given up.

Errors that may pass are retried: a server that is busy or broken, a connection that breaks, an
answer that does not come or stops half-way. The delay before each attempt is random between zero
and a bound that doubles (full jitter), so that the workers of a cluster do not return together; a
server's Retry-After is honoured. An operation that makes no progress for its deadline fails. A
server that has never answered this process is more likely a wrong address than a broken server, so
it gets only a few attempts.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

FIRST_DELAY_S = 0.05
MAX_DELAY_S = 5.0
MAX_ATTEMPTS_UNANSWERED = 6
# Shares of the deadline: one attempt's timeouts for the connection and for the next bytes.
CONNECT_SHARE, READ_SHARE = 1 / 24, 1 / 6

BUSY_STATUSES = frozenset({429, 500, 502, 503, 504})
BUSY_CODES = frozenset(
    {"InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"}
    | {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequests"}
)
# The upload was corrupted in transit.
CORRUPTED_CODES = frozenset({"BadDigest", "XAmzContentSHA256Mismatch"})
BROKEN_OFF = (
    boto.ConnectionClosedError,
    boto.IncompleteReadError,
    boto.ReadTimeoutError,
    boto.ResponseStreamingError,
    HTTPError,  # in a body, where botocore does not translate all of them: a bad TLS record
)
# HTTPClientError is the base of two in BROKEN_OFF, which must be tested first.
UNREACHABLE = (
    boto.ConnectTimeoutError,
    boto.EndpointConnectionError,
    boto.ProxyConnectionError,
    boto.SSLError,
    boto.HTTPClientError,
)


class RetryBudget:
    """How long one operation keeps trying.

    Args:
        deadline_s: it fails after so long without progress.
        is_cancelled: whether the result is no longer needed.
    """

    def __init__(
        self, *, deadline_s: float, is_cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        self._deadline_s = deadline_s
        self._is_cancelled = is_cancelled
        self.progressed()

    def progressed(self) -> None:
        """Restart the deadline: bytes have arrived."""
        self._since = time.monotonic()
        self._num_failures = 0

    def delay_s(
        self, *, retry_after_s: float = 0.0, max_attempts: int | None = None
    ) -> float | None:
        """Count a failure; seconds to wait before the next attempt, or None to give up."""
        self._num_failures += 1
        if self._is_cancelled() or self._num_failures == max_attempts:
            return None
        bound_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**self._num_failures)
        delay_s = max(retry_after_s, random.uniform(0, bound_s))
        # The next attempt must end before the deadline too.
        left_s = self._deadline_s * (1 - READ_SHARE) - (time.monotonic() - self._since)
        return delay_s if delay_s <= left_s else None

    def delay_after_s(self, error: Exception, *, has_answered: bool) -> float | None:
        """As `delay_s` for a failed request; None if its error cannot pass.

        Args:
            has_answered: whether the server has answered this process before.
        """
        if isinstance(error, boto.ClientError):
            answer = error.response.get("ResponseMetadata", {})
            is_busy = answer.get("HTTPStatusCode") in BUSY_STATUSES
            code = error.response.get("Error", {}).get("Code")
            if is_busy or code in BUSY_CODES | CORRUPTED_CODES:
                header = answer.get("HTTPHeaders", {}).get("retry-after")
                return self.delay_s(retry_after_s=retry_after_s(header))
        elif isinstance(error, BROKEN_OFF):
            return self.delay_s()
        elif isinstance(error, UNREACHABLE):
            return self.delay_s(max_attempts=None if has_answered else MAX_ATTEMPTS_UNANSWERED)
        return None


def retry_after_s(header: str | None) -> float:
    """The seconds that a Retry-After header asks for, a number or a date; 0 if it is neither."""
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
