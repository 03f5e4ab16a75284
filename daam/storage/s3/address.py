"""Addresses such as `s3://bucket/prefix?endpoint=https://host:9000&region=eu-west-1`.

The settings in an address name the server and how to connect to it. They hold no secrets, because
addresses are printed, stored in files and sent to other machines. Credentials come from the
environment or `~/.aws` of the process that uses an address.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args
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
    """A server and how to connect to it; where a setting is None, the standard AWS ones apply.

    Attributes:
        endpoint: `https://host:port`; by default AWS_ENDPOINT_URL, or else Amazon's.
        region: by default AWS_REGION, the profile's region, or else us-east-1.
        profile: section of `~/.aws/config` and `~/.aws/credentials`; by default AWS_PROFILE.
        addressing: whether the bucket is part of the path or of the host name; `auto`: of the host
            name for Amazon, of the path for all others.
        anonymous: send unsigned requests, for public buckets.
        deadline_s: seconds without progress after which an operation fails.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: Addressing = "auto"
    anonymous: bool = False
    deadline_s: float = DEADLINE_S

    def as_query(self) -> str:
        """The settings that differ from their defaults, as in an address."""
        texts = {
            field.name: _formatted(getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        return "&".join(f"{name}={quote(text, safe=':/')}" for name, text in texts.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """A place in a bucket.

    Attributes:
        prefix: of all keys below it, without leading or trailing slashes; may be empty.
    """

    bucket: str
    prefix: str = ""
    settings: S3Settings = S3Settings()

    @classmethod
    def parse(cls, uri: str) -> S3Address:
        """Read an address.

        Raises:
            StorageError: it names no bucket, has an unknown setting or an invalid value, or holds
                credentials, which the message does not repeat.
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
        """The address as text; `parse` of it gives an equal address."""
        place = f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")
        query = self.settings.as_query()
        return f"{place}?{query}" if query else place

    def key(self, key: str) -> str:
        """The full key in the bucket of a key below this prefix."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def below(self, key: str) -> S3Address:
        """The address of a key below this prefix, on the same server."""
        return replace(self, prefix=self.key(key))


# What a value must match, and an example for the message.
FORMS = {
    "endpoint": (r"https?://[^\x00-\x20\x7f?#]+", "https://host:9000"),
    "region": (r"[A-Za-z0-9-]{1,32}", "eu-west-1"),
    "profile": (r"[^\x00-\x1f\x7f]{1,128}", "lab"),
    "addressing": ("|".join(get_args(Addressing)), "path"),
    "anonymous": ("true|false", "true"),
    "deadline_s": (r"\d{1,6}(\.\d{1,6})?", "60"),
}


def _settings(query: str) -> S3Settings:
    if not query:
        return S3Settings()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        # The cause repeats the query, which may hold a credential.
        raise StorageError(
            "the settings after ? in an s3:// address must be of the form name=value, with & "
            "between them"
        ) from None
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name not in FORMS:
            raise StorageError(_unknown(name))
        if name in values:
            raise StorageError(f"the address of the store has {name} twice; give it once")
        values[name] = _value(name, text)
    return S3Settings(**values)


def _value(name: str, text: str) -> object:
    pattern, example = FORMS[name]
    if name == "endpoint" and "@" in text:
        raise StorageError(f"the endpoint holds a user or password; {WHERE_CREDENTIALS_GO}")
    if not re.fullmatch(pattern, text) or (name == "endpoint" and not _has_host(text)):
        raise StorageError(
            f"{name} in the address of the store cannot have that value; write it as in "
            f"{name}={example}"
        )
    if name == "endpoint":
        check_has_no_path(text, where="the endpoint in the address of the store")
        return text.rstrip("/")
    if name == "anonymous":
        return text == "true"
    if name == "deadline_s":
        if float(text) == 0:
            raise StorageError("deadline_s in the address of the store must be more than 0 seconds")
        return float(text)
    return text


def check_has_no_path(endpoint: str, *, where: str) -> None:
    """Refuse an endpoint such as `https://host/bucket`, below which keys would go astray.

    Raises:
        StorageError: it has a path.
    """
    if urlsplit(endpoint).path.strip("/"):
        raise StorageError(
            f"{where} has a path; write the server alone, as in https://host:9000, and bucket and "
            "prefix into the address: s3://bucket/prefix"
        )


def _has_host(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _unknown(name: str) -> str:
    if re.search(r"key|secret|token|passw|credential|signature|auth", name, re.IGNORECASE):
        return f"the address of the store holds a credential; {WHERE_CREDENTIALS_GO}"
    # Anything may have been pasted here: only what looks like a name is repeated.
    named = f" {name}" if re.fullmatch(r"[a-z_]{1,20}", name) else ""
    near = difflib.get_close_matches(name, FORMS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FORMS)}"
    return f"an s3:// address has no setting{named}; {hint}"


def _formatted(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
