"""One client per server and process, shared by all stores and threads that use it."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
import urllib3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from daam.errors import StorageError
from daam.storage.s3.address import WHERE_CREDENTIALS_GO, S3Settings, check_has_no_path
from daam.storage.s3.outage import Outage
from daam.storage.s3.presigned import PresignedReads
from daam.storage.s3.retry import CONNECT_SHARE, READ_SHARE, RetryBudget

DEFAULT_REGION = "us-east-1"
MAX_CONNECTIONS = 128  # a batch of 64 ranged reads and what runs beside it
HIDDEN = "(hidden)"


class Connection:
    """A server's client and its credentials; safe to share between threads.

    Attributes:
        settings: of the addresses that it serves.
        endpoint: the server's address.
        region: that requests are signed for.
    """

    def __init__(
        self, *, client: Any, session: boto3.Session, settings: S3Settings, ca_bundle: str | None
    ) -> None:
        self.settings = settings
        self.endpoint: str = client.meta.endpoint_url
        self.region: str = client.meta.region_name
        self._presigned = PresignedReads(
            client,
            timeout=urllib3.Timeout(**_timeouts_s(settings)),
            ca_bundle=ca_bundle,
            max_connections=MAX_CONNECTIONS,
        )
        self._client = client
        self._session = session
        self._has_answered = False
        self._outage = Outage(self.endpoint)

    def call(
        self, operation: str, parameters: dict[str, Any], *, budget: RetryBudget | None = None
    ) -> Any:
        """Call an operation of boto3's client, and retry it after errors that may pass.

        Args:
            budget: if some of it was used already.

        Raises:
            ClientError: the server refuses.
            BotoCoreError, HTTPError: the server cannot be reached, or the settings are wrong.
        """
        budget = budget or RetryBudget(deadline_s=self.settings.deadline_s)
        while True:
            try:
                response = getattr(self._client, operation)(**parameters)
            except (BotoCoreError, ClientError, HTTPError) as error:
                delay_s = budget.delay_after_s(error, has_answered=self._has_answered)
                self._has_answered |= isinstance(error, ClientError)
                if delay_s is None:
                    raise
                self._outage.failed(error)
                time.sleep(delay_s)
            else:
                self._has_answered = True
                self._outage.answered()
                return response

    def get_presigned(
        self, place: dict[str, str], *, byte_range: str
    ) -> urllib3.BaseHTTPResponse | None:
        """As `PresignedReads.get`."""
        response = self._presigned.get(place, byte_range=byte_range)
        self._has_answered |= response is not None
        return response

    def describe_credentials(self) -> str:
        """Where the credentials in use come from, never what they are."""
        if self.settings.anonymous:
            return "none: anonymous=true"
        found = self._session.get_credentials()
        if found is None:
            return "none found"
        if found.method == "env":
            return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        profile = f", profile {self._session.profile_name}" if self._session.profile_name else ""
        return f"{found.method}{profile}"

    def redact(self, text: str) -> str:
        """A server's message without the credentials that it may repeat.

        Nothing of it is left if the credentials to look for are no longer available.
        """
        if self.settings.anonymous:
            return text
        try:
            found = self._session.get_credentials()
            credentials = () if found is None else found.get_frozen_credentials()[:3]
        except (BotoCoreError, ClientError, RuntimeError, ValueError):
            return HIDDEN
        for secret in credentials:
            if secret:
                text = text.replace(secret, HIDDEN)
        return text


_connections: dict[tuple[int, S3Settings, int], Connection] = {}
_lock = threading.Lock()
# A fork while another thread holds the lock would leave the child's copy locked for ever.
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


def connection(settings: S3Settings) -> Connection:
    """This process's connection for these settings and its present environment.

    A forked process gets its own: two that share a socket would read each other's answers.

    Raises:
        StorageError: the AWS settings cannot be used.
        BotoCoreError: likewise, raised by boto3.
    """
    key = (os.getpid(), settings, _environment())
    with _lock:
        if key not in _connections:
            _connections[key] = _connect(settings)
        return _connections[key]


def _environment() -> int:
    """A number that changes with the process's AWS and proxy settings and does not reveal them."""
    return hash(
        frozenset(
            (name, value)
            for name, value in os.environ.items()
            if name.startswith("AWS_") or name.lower().endswith("_proxy")
        )
    )


def _connect(settings: S3Settings) -> Connection:
    # Below these levels they log signatures, session tokens and where credentials were found.
    for name, level in (("botocore", logging.WARNING), ("urllib3", logging.INFO)):
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(level)
    region = settings.region or os.environ.get("AWS_REGION") or None
    core = botocore.session.Session(profile=settings.profile)
    # The session needs the region too: services that issue credentials are regional.
    session = boto3.Session(botocore_session=core, region_name=region)
    try:
        client = session.client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=session.region_name or DEFAULT_REGION,
            config=_client_config(settings),
        )
    except ValueError:
        # The cause repeats the address, and people do write passwords into it.
        raise StorageError(
            "AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config is not the address of a server; "
            "write it as in https://host:9000"
        ) from None
    if "@" in urlsplit(client.meta.endpoint_url).netloc:
        raise StorageError(
            "AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config holds a user or password; "
            + WHERE_CREDENTIALS_GO
        )
    if settings.endpoint is None:
        check_has_no_path(
            client.meta.endpoint_url, where="AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config"
        )
    client.meta.events.register("before-call.s3.HeadBucket", _refuse_to_probe)
    ca_bundle = core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return Connection(client=client, session=session, settings=settings, ca_bundle=ca_bundle)


def _client_config(settings: S3Settings) -> Config:
    timeouts_s = _timeouts_s(settings)
    return Config(
        connect_timeout=timeouts_s["connect"],
        read_timeout=timeouts_s["read"],
        retries={"mode": "standard", "total_max_attempts": 1},  # `Connection.call` retries
        max_pool_connections=MAX_CONNECTIONS,
        tcp_keepalive=True,
        signature_version=UNSIGNED if settings.anonymous else "s3v4",
        s3=None if settings.addressing == "auto" else {"addressing_style": settings.addressing},
        # Servers other than AWS do not all know the newer checksums that boto3 sends by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _timeouts_s(settings: S3Settings) -> dict[str, float]:
    return {
        "connect": settings.deadline_s * CONNECT_SHARE,
        "read": settings.deadline_s * READ_SHARE,
    }


def _refuse_to_probe(**_: object) -> None:
    # After a redirection that names no region, botocore asks the bucket for it, and again if that
    # is redirected, without end: any web server that sends http to https does so.
    raise ClientError({"ResponseMetadata": {"HTTPHeaders": {}}}, "HeadBucket")
