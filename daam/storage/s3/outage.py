"""What is logged while a server does not answer and requests are retried."""

import logging
import threading
import time
from collections.abc import Callable

from botocore.exceptions import ClientError

from daam.storage.store import OUTAGES

SAID_AFTER_S = 5.0

log = logging.getLogger(OUTAGES)


class Outage:
    """Logs that a server does not answer, once, and that it does again.

    A server that fails some requests and answers others has no outage.

    Args:
        endpoint: of the server.
        clock: in seconds since 1970.
    """

    def __init__(self, endpoint: str, *, clock: Callable[[], float] = time.time) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._is_said = False

    def failed(self, error: Exception) -> None:
        """Note that a request failed and will be retried."""
        with self._lock:
            if self._since is None:
                self._since = self._clock()
            is_news = not self._is_said and self._clock() - self._since >= SAID_AFTER_S
            self._is_said |= is_news
        if is_news:
            why = type(error).__name__
            if isinstance(error, ClientError):
                why = f"it answers {error.response.get('Error', {}).get('Code')}"
            since = time.strftime("%H:%M:%S", time.localtime(self._since))
            log.warning("store unreachable since %s, retrying: %s (%s)", since, self._endpoint, why)

    def answered(self) -> None:
        """Note that a request succeeded."""
        if self._since is None:
            return
        with self._lock:
            since, is_said = self._since, self._is_said
            self._since, self._is_said = None, False
        if is_said and since is not None:
            seconds = self._clock() - since
            log.warning("store reached again after %.0f s: %s", seconds, self._endpoint)
