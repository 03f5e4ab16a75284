"""One client for each server and process, shared by all stores and threads that use it."""

from __future__ import annotations

import functools
import logging
import os
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from daam.errors import StorageError
from daam.storage.collector import paused_collector
from daam.storage.s3.address import WHERE_CREDENTIALS_GO, S3Settings
from daam.storage.s3.checksums import send_checksums
from daam.storage.s3.retry import CONNECT_SHARE, READ_SHARE, Retries

DEFAULT_REGION = "us-east-1"
POOLED_CONNECTIONS = 128  # a batch of 64 ranged reads and what runs beside it
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Connection:
    """A client and what is known about it.

    Attributes:
        client: boto3's, of the service S3; safe to share between threads.
        session: that it was made from; gives its credentials.
        settings: of the addresses it serves.
        endpoint: address of the server.
        region: that requests are signed for.
    """

    client: Any
    session: boto3.Session
    settings: S3Settings
    endpoint: str
    region: str

    def credentials(self) -> Any:
        """The credentials in use, fresh ones where they expire; None if there are none."""
        if self.settings.anonymous:
            return None
        found = self.session.get_credentials()
        return None if found is None else found.get_frozen_credentials()

    def credentials_in_words(self) -> str:
        """Where the credentials in use come from, never what they are."""
        if self.settings.anonymous:
            return "none: anonymous=true"
        found = self.session.get_credentials()
        if found is None:
            return "none found"
        if found.method == "env":
            return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        profile = f", profile {self.session.profile_name}" if self.session.profile_name else ""
        return f"{found.method}{profile}"

    def hide(self, text: str) -> str:
        """A server's words without the credentials that it may have repeated.

        None of them are left if the credentials to look for cannot be had any more.
        """
        try:
            credentials = self.credentials()
        except (BotoCoreError, ClientError, RuntimeError):
            return HIDDEN
        for secret in () if credentials is None else credentials[:3]:
            if secret:
                text = text.replace(secret, HIDDEN)
        return text


class _Connections:
    """The connections of this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[S3Settings, int], Connection] = {}

    def get(self, settings: S3Settings) -> Connection:
        _forget_in_forks()
        key = (settings, _environment())
        with self._lock:
            if key not in self._made:
                self._made[key] = _connect(settings)
            return self._made[key]


_connections = _Connections()


def connection(settings: S3Settings) -> Connection:
    """The connection of this process for these settings and its present environment.

    Raises:
        StorageError: the AWS settings cannot be used.
        BotoCoreError: so, in boto3's words.
    """
    return _connections.get(settings)


@functools.cache
def _forget_in_forks() -> None:
    # Two processes that talk over one socket get each other's answers.
    os.register_at_fork(after_in_child=_connections.forget)


def _environment() -> int:
    """A number that changes with the settings of the process; it tells nothing about them."""
    return hash(
        frozenset(
            (name, value)
            for name, value in os.environ.items()
            if name.startswith("AWS_") or name.lower().endswith("_proxy")
        )
    )


def _connect(settings: S3Settings) -> Connection:
    # Below, botocore writes signatures and session tokens into the log, and where each process
    # found its credentials.
    if logging.getLogger("botocore").level == logging.NOTSET:
        logging.getLogger("botocore").setLevel(logging.WARNING)
    session = boto3.Session(profile_name=settings.profile)
    region = settings.region or os.environ.get("AWS_REGION") or session.region_name
    region = region or DEFAULT_REGION
    try:
        with paused_collector():
            client = session.client(
                "s3", endpoint_url=settings.endpoint, region_name=region, config=_config(settings)
            )
    except ValueError:
        # The cause repeats the address, and people do write passwords into it.
        raise StorageError(
            "AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config is no address of a server; write it "
            "as in https://host:9000"
        ) from None
    endpoint: str = client.meta.endpoint_url
    if "@" in urlsplit(endpoint).netloc:
        raise StorageError(
            "AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config holds a user or password; "
            + WHERE_CREDENTIALS_GO
        )
    Retries(deadline_s=settings.deadline_s).register(client)
    send_checksums(client)
    return Connection(
        client=client, session=session, settings=settings, endpoint=endpoint, region=region
    )


def _config(settings: S3Settings) -> Config:
    more: dict[str, Any] = {}
    if settings.addressing != "auto":
        more["s3"] = {"addressing_style": settings.addressing}
    if settings.anonymous:
        more["signature_version"] = UNSIGNED
    return Config(
        connect_timeout=settings.deadline_s * CONNECT_SHARE,
        read_timeout=settings.deadline_s * READ_SHARE,
        retries={"mode": "standard", "total_max_attempts": 1},  # Retries decides
        max_pool_connections=POOLED_CONNECTIONS,
        tcp_keepalive=True,
        # Servers other than AWS do not all know the newer checksums that boto3 sends by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **more,
    )
