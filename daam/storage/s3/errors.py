"""Errors of boto3 and urllib3 as StorageErrors that say what to do."""

from __future__ import annotations

import os
from typing import Any

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

from daam.errors import StorageError
from daam.storage.s3.connection import Connection
from daam.storage.s3.reading import PAST_THE_END
from daam.storage.store import MissingKeyError

MISSING_KEY = frozenset({"404", "NoSuchKey", "NotFound"})
EXPIRED = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
REFUSED = frozenset(
    {"400", "401", "403", "AccessDenied", "AllAccessDisabled", "Forbidden", "Unauthorized"}
)
WRONG_REGION = frozenset(
    {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
    | {"PermanentRedirect"}
)
FULL = frozenset({"507", "InsufficientStorage", "QuotaExceeded"})
NO_CREDENTIALS = (
    boto.CredentialRetrievalError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.SSOError,
    boto.TokenRetrievalError,
)
PROXY_VARIABLES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
NOT_ANSWERING = (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, HTTPError)
# What is kept of a refusal: in some of them AWS repeats the session token and the string to sign,
# and an error can end up in any log.
KEPT = frozenset({"Code", "Message", "Region", "RequestTime", "ServerTime"})


def as_storage_error(
    error: Exception, *, doing: str, bucket: str, connection: Connection | None
) -> StorageError:
    """The error to raise in place of boto3's.

    Args:
        doing: the verb and address, as in "read s3://bucket/key".
        connection: the one used, if it was made.
    """
    if isinstance(error, boto.ClientError) and connection is not None:
        return _refused(error, doing=doing, bucket=bucket, connection=connection)
    if isinstance(error, boto.ProfileNotFound):
        return StorageError(
            f"cannot {doing}: {error}; check AWS_PROFILE or profile= in the address, and ~/.aws"
        )
    if isinstance(error, NO_CREDENTIALS) or is_expired_credentials(error):
        return StorageError(
            f"cannot {doing}: no credentials for S3 ({error}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or for a public bucket add anonymous=true to "
            "the address"
        )
    endpoint = "the S3 endpoint" if connection is None else connection.endpoint
    if isinstance(error, boto.SSLError):
        return StorageError(
            f"cannot {doing}: TLS with {endpoint} fails ({error.kwargs.get('error', error)}); "
            "check that it speaks https, and its certificate: AWS_CA_BUNDLE names who to trust"
        )
    if isinstance(error, NOT_ANSWERING):
        return StorageError(
            f"cannot {doing}: {endpoint} cannot be reached or stopped answering "
            f"({type(error).__name__}); check AWS_ENDPOINT_URL or endpoint= in the address, and "
            f"that the server is up{_proxies()}"
        )
    if isinstance(error, boto.ParamValidationError) and "bucket name" in str(error):
        return _bad_name(doing, bucket)
    message = str(error) if connection is None else connection.redact(str(error))
    return StorageError(f"cannot {doing}: {message}; check the AWS settings")


def _proxies() -> str:
    """A hint at the proxies that the environment names; never their addresses."""
    names = sorted(
        name for name, value in os.environ.items() if value and name.upper() in PROXY_VARIABLES
    )
    if not names:
        return ""
    return f" (if it must not be reached through {' and '.join(names)}, add it to NO_PROXY)"


def is_expired_credentials(error: Exception) -> bool:
    """Whether botocore found that refreshed credentials had already expired."""
    return isinstance(error, RuntimeError) and "refreshed credentials" in str(error)


def _refused(
    error: boto.ClientError, *, doing: str, bucket: str, connection: Connection
) -> StorageError:
    details: dict[str, Any] = error.response.setdefault("Error", {})
    for name in details.keys() - KEPT:
        del details[name]
    code, endpoint = details.get("Code", ""), connection.endpoint
    if code in MISSING_KEY:
        return MissingKeyError(
            f"cannot {doing}: there is nothing under this key; check the address and the name"
        )
    if code == "InvalidBucketName":
        return _bad_name(doing, bucket)
    reason = _reason(code, details, bucket=bucket, connection=connection)
    if reason is None:
        message = connection.redact(str(error))
        reason = f"{endpoint} answers {message}; try again later"
    return StorageError(f"cannot {doing}: {reason}")


def _reason(
    code: str, details: dict[str, Any], *, bucket: str, connection: Connection
) -> str | None:
    endpoint, using = connection.endpoint, connection.describe_credentials()
    if code == "NoSuchBucket":
        return f"{endpoint} has no bucket {bucket}; create it or check the address"
    if code == "InvalidAccessKeyId":
        return (
            f"{endpoint} refuses the credentials: it does not know this access key ({code}); check "
            f"its id and that it is one of this server (used: {using})"
        )
    if code == "SignatureDoesNotMatch":
        return (
            f"{endpoint} refuses the credentials: the secret is not that of the access key "
            f"({code}); check it (used: {using})"
        )
    if code in EXPIRED:
        return (
            f"{endpoint} refuses the credentials: they have expired or their session token is "
            f"wrong ({code}); get new ones and try again (used: {using})"
        )
    if code in REFUSED and connection.settings.anonymous:
        return (
            f"{endpoint} asks for credentials ({code}): bucket {bucket} is not public, "
            "or not for this operation; leave anonymous=true out of the address and set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE. Where listing is not "
            "allowed, AWS answers this for missing keys too"
        )
    if code in REFUSED:
        return (
            f"{endpoint} refuses the credentials or what they are used for ({code}); check what "
            f"they may do in bucket {bucket} (used: {using}). Where listing is not allowed, AWS "
            "answers this for missing keys too"
        )
    if code == "RequestTimeTooSkewed":
        times = ", ".join(
            f"{name} {details[key]}"
            for name, key in (("here it is", "RequestTime"), ("there", "ServerTime"))
            if key in details
        )
        return f"this machine's clock is wrong ({code}{': ' if times else ''}{times}); set it right"
    if code in WRONG_REGION:
        right = details.get("Region")
        where = f"in region {right}" if right else "in another region, or behind another address,"
        return (
            f"bucket {bucket} is {where} and not in {connection.region} ({code}); set AWS_REGION "
            f"or region= in the address to {right or 'it'}"
        )
    if code in PAST_THE_END:
        return "it is shorter than the range; it was truncated or replaced: write it again"
    if code in FULL:
        return f"{endpoint} is full ({code}); free some space"
    return None


def _bad_name(doing: str, bucket: str) -> StorageError:
    return StorageError(
        f"cannot {doing}: {bucket} is not a valid bucket name; it needs 3 to 63 lower-case "
        "letters, digits, points and hyphens: check the address"
    )
