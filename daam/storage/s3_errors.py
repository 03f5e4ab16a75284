"""What a failure of boto3 means, in words that say what to do."""

import botocore.exceptions as boto

from daam.errors import StorageError
from daam.storage.store import MissingKeyError

MISSING_KEY = frozenset({"NoSuchKey", "404", "NotFound"})
PAST_THE_END = frozenset({"416", "InvalidRange"})
WRONG_CREDENTIALS = frozenset(
    {
        "400",
        "401",
        "403",
        "AccessDenied",
        "ExpiredToken",
        "Forbidden",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "Unauthorized",
    }
)
WRONG_REGION = frozenset(
    {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
    | {"PermanentRedirect"}
)
NO_CREDENTIALS = (
    boto.CredentialRetrievalError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.TokenRetrievalError,
)
UNREACHABLE = (boto.ConnectionError, boto.HTTPClientError)


def as_storage_error(error: Exception, *, doing: str, bucket: str, endpoint: str) -> StorageError:
    """The error to raise instead of boto3's.

    Args:
        doing: verb and address, as in "read s3://bucket/key".
        endpoint: the server's address.
    """
    if isinstance(error, boto.ClientError):
        return _refused(error, doing=doing, bucket=bucket, endpoint=endpoint)
    if isinstance(error, NO_CREDENTIALS):
        return StorageError(
            f"cannot {doing}: no credentials for S3 ({error}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, UNREACHABLE):
        return StorageError(
            f"cannot {doing}: {endpoint} cannot be reached or stopped answering "
            f"({type(error).__name__}); check AWS_ENDPOINT_URL and that the server is up"
        )
    return StorageError(f"cannot {doing}: {error}; check the AWS settings")


def _refused(error: boto.ClientError, *, doing: str, bucket: str, endpoint: str) -> StorageError:
    code = error.response.get("Error", {}).get("Code", "")
    if error.operation_name == "HeadBucket" and code in MISSING_KEY:
        code = "NoSuchBucket"
    if code in MISSING_KEY:
        return MissingKeyError(
            f"cannot {doing}: there is nothing under this key; check the address and the name"
        )
    if code == "NoSuchBucket":
        return StorageError(
            f"cannot {doing}: {endpoint} has no bucket {bucket}; create it or check the address"
        )
    if code in WRONG_CREDENTIALS:
        return StorageError(
            f"cannot {doing}: {endpoint} refuses the credentials ({code}); check "
            f"AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do in bucket {bucket}"
        )
    if code in PAST_THE_END:
        return StorageError(
            f"cannot {doing}: it is shorter than what was asked for; write it again"
        )
    if code == "RequestTimeTooSkewed":
        return StorageError(f"cannot {doing}: this machine's clock is wrong ({code}); set it right")
    if code in WRONG_REGION:
        return StorageError(
            f"cannot {doing}: bucket {bucket} is in another region ({code}); set AWS_REGION to it"
        )
    if code in ("QuotaExceeded", "InsufficientStorage", "507"):
        return StorageError(f"cannot {doing}: {endpoint} is full ({code}); free some space")
    return StorageError(f"cannot {doing}: {endpoint} answers {error}; try again later")
