"""An S3 server on the switch, where every host reaches it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from daam.storage.local_s3 import LocalS3
from tests.cluster.hosts.switch import ADDRESS, PATIENCE_S, Switch, first_child
from tests.support.commands import ROOT

ACCESS, SECRET = "labaccess", "labsecret"
PORT, BUSY_PORT = 9000, 9001
STARTED = "Starting s3 server"


class HostedStore:
    """`rclone serve s3` in the network of a switch, inside a `with` block.

    Attributes:
        folder: whose folders are the buckets; tests look at the files in it.
    """

    def __init__(self, switch: Switch, folder: Path, *, log: Path) -> None:
        self.folder = folder
        self._switch = switch
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make the hosts use it."""
        clients = LocalS3(self.folder, access_key=ACCESS, secret_key=SECRET).environment
        return clients | {"AWS_ENDPOINT_URL": f"http://{ADDRESS}:{PORT}"}

    def add(self, bucket: str, source: Path | None = None) -> None:
        """Create a bucket, with the files of a folder if there is one."""
        if source is None:
            (self.folder / bucket).mkdir()
        else:
            shutil.copytree(source, self.folder / bucket)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: it does not.
        """
        command = [
            *(
                str(Path(sys.executable).with_name("rclone")),
                "serve",
                "s3",
                "--addr",
                f"{ADDRESS}:{PORT}",
            ),
            *("--dir-cache-time", "1s", str(self.folder)),
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._switch.inside(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "RCLONE_AUTH_KEY": f'"{ACCESS},{SECRET}"',
                    "RCLONE_CONFIG": os.devnull,
                },
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_S
        while STARTED not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the store does not start: {self._log.read_text()}")
            time.sleep(0.05)

    @contextmanager
    def busy(self, *, share: float) -> Iterator[str]:
        """Turn away a share of the requests to the endpoint that this yields."""
        program = str(Path(__file__).with_name("busy_store.py"))
        store = f"http://{ADDRESS}:{PORT}"
        with subprocess.Popen(
            self._switch.inside(
                [sys.executable, program, store, ADDRESS, str(BUSY_PORT), str(share)]
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        ) as proxy:  # whose end closes its standard input
            assert proxy.stdout is not None
            yield proxy.stdout.readline().strip()

    def stop(self) -> None:
        """Kill the server, if it runs: connections are refused."""
        if self._process is not None:
            if self._process.poll() is None:
                os.kill(first_child(self._process), signal.SIGKILL)
            self._process.wait()
            self._process = None
