"""What it takes to speak to a server of a known address without a client of boto3.

Most stores other than Amazon's are an address and buckets in its paths. A client reads several
megabytes of descriptions of AWS before it says so.
"""

from __future__ import annotations

import os
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from daam.storage.s3.address import S3Settings
from daam.storage.s3.retry import CONNECT_SHARE, READ_SHARE

POOLED_CONNECTIONS = 128  # a batch of 64 ranged reads and what runs beside it
# Parts of a profile that may change where requests go.
ROUTING = frozenset({"s3", "services"})


def client_config(settings: S3Settings) -> Config:
    """How a client of boto3 is to behave."""
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


def direct_endpoint(session: boto3.Session, settings: S3Settings) -> str | None:
    """The server's address if all requests go to it with the bucket in the path.

    None where that is not plain: it is Amazon's, a profile has a say in it, or it is no address.
    """
    ours: Any = session._session
    endpoint = settings.endpoint
    if endpoint is None and not ours.get_config_variable("ignore_configured_endpoint_urls"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    profile = set(ours.get_scoped_config())  # what ~/.aws/config says under it
    if endpoint is None or settings.addressing == "virtual" or ROUTING & profile:
        return None
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        _ = parts.port  # raises if it is no number
    except ValueError:
        return None
    is_plain = parts.scheme in ("http", "https") and host != "" and "@" not in parts.netloc
    if not is_plain or parts.query or parts.fragment or host.endswith((".amazonaws.com", ".aws")):
        return None
    return endpoint.rstrip("/")


def object_url(endpoint: str, *, bucket: str, key: str) -> str:
    """Where an object is on a server of `direct_endpoint`."""
    return f"{endpoint}/{bucket}/{quote(key, safe='/~')}"


def http_session(endpoint: str, *, session: boto3.Session, settings: S3Settings) -> URLLib3Session:
    """Connections to such a server, as a client would make them."""
    ours: Any = session._session
    config: Any = client_config(settings)
    trusted: Any = ours.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return URLLib3Session(
        verify=trusted or True,
        proxies=get_environ_proxies(endpoint),
        timeout=(config.connect_timeout, config.read_timeout),
        max_pool_connections=POOLED_CONNECTIONS,
        socket_options=[
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        ],
    )
