"""Where a loader finds its data: a folder, which an S3 server has as its bucket."""

import os
from dataclasses import dataclass
from pathlib import Path

BUCKET = "formats"
KEY = "benchmark"  # the server asks for none, but clients want to have one


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    Attributes:
        folder: the formats on local disk, one folder each.
        endpoint: `http://host:port` of a server that has `folder` as its bucket, or None to read
            from local disk. It takes S3 requests, and plain GETs without a signature.
        cache: an empty folder for what a loader keeps.
    """

    folder: Path
    endpoint: str | None
    cache: Path

    def s3(self, name: str) -> str:
        """The address of a format in the bucket."""
        return f"s3://{BUCKET}/{name}"

    def http(self, path: Path) -> str:
        """The address of a file of a format for a plain GET."""
        return f"{self.endpoint}/{BUCKET}/{path.relative_to(self.folder)}"


def set_credentials(endpoint: str) -> None:
    """Point all AWS clients of this process, and of its children, at a server."""
    os.environ |= {
        "AWS_ENDPOINT_URL": endpoint,
        "S3_ENDPOINT_URL": endpoint,  # MosaicML Streaming's own
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ALLOW_HTTP": "true",  # what is written in Rust asks for leave
    }
