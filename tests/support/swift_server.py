"""OpenStack Swift with its S3 interface: a second real S3 server beside rclone's, for tests."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import boto3
from botocore.config import Config

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
PROGRAM = Path(__file__).with_name("swift_node.py")
# Accounts belong to users.
ACCESS_KEY = "tests:tester"
SECRET_KEY = "swiftsecret"
# Keys in a page of a listing: few, so that tests see more than one page.
PAGE_SIZE = 20


class SwiftServer:
    """A server on this machine's loopback address, running inside a `with` block.

    It checks signatures, answers ranges with 206, lists 20 keys a page, and takes multipart
    uploads of parts from 5 MiB.

    Attributes:
        endpoint: `http://127.0.0.1:PORT`.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: empty; on a file system with user attributes (`user_attributes_work`).
        """
        self._folder = folder
        self.endpoint = ""

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which AWS clients use this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self, name: str) -> str:
        """Make a bucket and return its address."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=name)
        client.close()
        return f"s3://{name}"

    def bytes_sent(self) -> Counter[str]:
        """The server's own account: bytes of bodies sent for each `/bucket/key` so far."""
        sent: Counter[str] = Counter()
        for line in (self._folder / "access.log").read_text().splitlines():
            method, quoted, _, num_bytes = line.split(" ")
            if method == "GET" and num_bytes.isdigit():
                # The log quotes what the client had quoted already.
                path, _, _ = unquote(quoted).partition("?")
                sent[unquote(path)] += int(num_bytes)
        return sent

    def __enter__(self) -> Self:
        """Start the server and wait until it answers."""
        self._errors = (self._folder / "stderr").open("w+b")
        self._process = subprocess.Popen(
            # Its warnings are not ours: eventlet calls itself deprecated.
            [sys.executable, "-W", "ignore", str(PROGRAM), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        settings = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "page_size": PAGE_SIZE}
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        too_late = threading.Timer(START_TIMEOUT_S, self._process.kill)
        too_late.start()
        self.endpoint = self._process.stdout.readline().strip()
        too_late.cancel()
        if not self.endpoint:
            self._stop()
            words = (self._folder / "stderr").read_text()
            raise RuntimeError(f"OpenStack Swift did not start in {self._folder}: {words}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def user_attributes_work(folder: Path) -> bool:
    """Whether the folder's file system keeps user attributes, where Swift has its metadata."""
    try:
        os.setxattr(folder, "user.daam", b"1")
    except OSError:
        return False
    return True
