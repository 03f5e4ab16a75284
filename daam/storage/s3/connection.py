"""One client for each server and process, shared by all stores and threads that use it."""

from __future__ import annotations

import functools
import logging
import os
import threading
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from daam.errors import StorageError
from daam.storage.collector import paused_collector
from daam.storage.s3.address import WHERE_CREDENTIALS_GO, S3Settings
from daam.storage.s3.checksums import send_checksums
from daam.storage.s3.direct import client_config, direct_endpoint, http_session
from daam.storage.s3.retry import Retries

DEFAULT_REGION = "us-east-1"
HIDDEN = "(hidden)"


class Connection:
    """A server, and how to speak to it; safe to share between threads.

    Attributes:
        session: of boto3; gives the credentials.
        settings: of the addresses it serves.
        region: that requests are signed for.
        direct_endpoint: see `direct.direct_endpoint`.
    """

    def __init__(
        self,
        *,
        session: boto3.Session,
        settings: S3Settings,
        region: str,
        client: Any = None,
        direct_endpoint: str | None = None,
    ) -> None:
        self.session = session
        self.settings = settings
        self.region = region
        self.direct_endpoint = direct_endpoint
        self._client = client
        self._http: Any = None
        self._lock = threading.RLock()

    @property
    def client(self) -> Any:
        """boto3's client of the service S3. It takes a fifth of a second to make, with what
        Python's collector has to do about it, so it is made when it is needed first.

        Raises:
            StorageError: the AWS settings cannot be used.
            BotoCoreError: so, in boto3's words.
        """
        with self._lock:
            if self._client is None:
                self._client = _client(self.session, self.settings, region=self.region)
            return self._client

    @property
    def has_client(self) -> bool:
        """Whether the client was made."""
        return self._client is not None

    @property
    def endpoint(self) -> str:
        """Address of the server, as far as is known without making a client."""
        if self.direct_endpoint is None and self._client is not None:
            return self._client.meta.endpoint_url
        return self.direct_endpoint or self.settings.endpoint or "the S3 endpoint"

    @property
    def http(self) -> Any:
        """Connections to the server, for reads: a client's own, where there must be one."""
        if self.direct_endpoint is None:
            return self.client._endpoint.http_session
        with self._lock:
            if self._http is None:
                self._http = http_session(
                    self.direct_endpoint, session=self.session, settings=self.settings
                )
            return self._http

    def credentials(self) -> Any:
        """The credentials in use, fresh ones where they expire; None if there are none."""
        if self.settings.anonymous:
            return None
        with self._lock:  # a session looks for them anew for each thread that asks at once
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
        except (BotoCoreError, ClientError, RuntimeError, ValueError):
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
    region = settings.region or os.environ.get("AWS_REGION") or None
    # Of the region, too: whoever lends credentials may be asked there.
    session = boto3.Session(profile_name=settings.profile, region_name=region)
    return Connection(
        session=session,
        settings=settings,
        region=session.region_name or DEFAULT_REGION,
        direct_endpoint=direct_endpoint(session, settings),
    )


def _client(session: boto3.Session, settings: S3Settings, *, region: str) -> Any:
    try:
        with paused_collector():
            client = session.client(
                "s3",
                endpoint_url=settings.endpoint,
                region_name=region,
                config=client_config(settings),
            )
    except ValueError:
        # The cause repeats the address, and people do write passwords into it.
        raise StorageError(
            "AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config is no address of a server; write it "
            "as in https://host:9000"
        ) from None
    if "@" in urlsplit(client.meta.endpoint_url).netloc:
        raise StorageError(
            "AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config holds a user or password; "
            + WHERE_CREDENTIALS_GO
        )
    Retries(deadline_s=settings.deadline_s).register(client)
    send_checksums(client)
    return client
