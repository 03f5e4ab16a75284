"""Addresses of the kind `s3://bucket/prefix?endpoint=https://host:9000&region=eu-west-1`.

The settings in an address say which server is meant and how to speak to it. They are no secrets:
an address is printed, stored in settings files and sent to other machines. Credentials are what
the process that uses it has in its environment or in `~/.aws`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast, get_args
from urllib.parse import parse_qsl, quote, urlsplit

from daam.errors import StorageError
from daam.storage.store import check_key

Addressing = Literal["auto", "path", "virtual"]

DEADLINE_S = 120.0
SCHEME = "s3://"
WHERE_CREDENTIALS_GO = (
    "credentials go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws, never into an "
    "address"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Which server, and how to speak to it; the standard AWS settings hold where one is None.

    Attributes:
        endpoint: `https://host:port`; AWS_ENDPOINT_URL, or else Amazon's.
        region: AWS_REGION, the profile's, or else us-east-1.
        profile: section of `~/.aws/config` and `~/.aws/credentials`; AWS_PROFILE.
        addressing: whether the bucket is in the path or in the host name; `auto`: in the host name
            for Amazon, in the path for all others.
        anonymous: requests are not signed, for buckets that are open to everybody.
        deadline_s: an operation that makes no progress for so long is given up.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: Addressing = "auto"
    anonymous: bool = False
    deadline_s: float = DEADLINE_S

    def as_query(self) -> str:
        """The settings that are not the default, as they stand in an address."""
        texts = {
            field.name: _text(getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        return "&".join(f"{name}={quote(text, safe=':/')}" for name, text in texts.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """A place in a bucket.

    Attributes:
        prefix: of all keys below it, without slashes at its ends; may be empty.
    """

    bucket: str
    prefix: str = ""
    settings: S3Settings = S3Settings()

    @classmethod
    def parse(cls, uri: str) -> S3Address:
        """Read an address.

        Raises:
            StorageError: it names no bucket, a setting does not exist or has no such value, or it
                holds credentials; the message does not repeat them.
        """
        place, _, query = uri.removeprefix(SCHEME).partition("?")
        bucket, _, prefix = place.partition("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
            raise StorageError(
                "an s3:// address must start with the name of a bucket, as in s3://bucket/prefix; "
                + WHERE_CREDENTIALS_GO
            )
        prefix = prefix.strip("/")
        if prefix:
            check_key(prefix)
        return cls(bucket=bucket, prefix=prefix, settings=_settings(query))

    @property
    def uri(self) -> str:
        """The address as text, which `parse` turns into an equal one."""
        place = f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")
        query = self.settings.as_query()
        return f"{place}?{query}" if query else place

    def key(self, key: str) -> str:
        """The full key, in the bucket, of a key below this place."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def below(self, key: str) -> S3Address:
        """The address of a key below this place, on the same server."""
        return replace(self, prefix=self.key(key))


def _settings(query: str) -> S3Settings:
    if not query:
        return S3Settings()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        # The cause repeats what was given.
        raise StorageError(
            "the settings after ? in an s3:// address must be of the form name=value, with & "
            "between them"
        ) from None
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name not in READERS:
            raise StorageError(_unknown(name))
        if name in values:
            raise StorageError(f"the address of the store has {name} twice; give it once")
        values[name] = READERS[name](text)
    return S3Settings(**values)


def _unknown(name: str) -> str:
    if re.search(r"key|secret|token|passw|credential|signature|auth", name, re.IGNORECASE):
        return f"the address of the store holds a credential; {WHERE_CREDENTIALS_GO}"
    # A name that does not look like one is not repeated: it may be anything that was pasted.
    named = f" {name}" if re.fullmatch(r"[a-z_]{1,20}", name) else ""
    near = difflib.get_close_matches(name, READERS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(READERS)}"
    return f"an s3:// address has no setting{named}; {hint}"


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    else:
        if "@" in parts.netloc:
            raise StorageError(f"the endpoint holds a user or password; {WHERE_CREDENTIALS_GO}")
        whole = whole and not parts.query and not parts.fragment
    if not whole or re.search(r"[\x00-\x20\x7f]", text):
        raise StorageError(
            "endpoint in the address of the store is no address of a server; write it as in "
            "endpoint=https://host:9000"
        )
    return text.rstrip("/")


def _matching(name: str, pattern: str, example: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise StorageError(
                f"{name} in the address of the store cannot have that value; write it as in "
                f"{name}={example}"
            )
        return text

    return read


def _addressing(text: str) -> Addressing:
    return cast(Addressing, _matching("addressing", "|".join(get_args(Addressing)), "path")(text))


def _anonymous(text: str) -> bool:
    return _matching("anonymous", "true|false", "true")(text) == "true"


def _deadline_s(text: str) -> float:
    value = float(_matching("deadline_s", r"\d{1,6}(\.\d{1,6})?", "60")(text))
    if value <= 0:
        raise StorageError("deadline_s in the address of the store must be more than 0 seconds")
    return value


READERS: dict[str, Callable[[str], object]] = {
    "endpoint": _endpoint,
    "region": _matching("region", r"[A-Za-z0-9-]{1,32}", "eu-west-1"),
    "profile": _matching("profile", r"[^\x00-\x1f\x7f]{1,128}", "lab"),
    "addressing": _addressing,
    "anonymous": _anonymous,
    "deadline_s": _deadline_s,
}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
