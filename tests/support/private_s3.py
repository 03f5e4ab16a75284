"""An S3 server of its own, with credentials that nothing else in the world has."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from daam.storage.local_s3 import LocalS3

BUCKET = "private"
ACCESS, SECRET, TOKEN = (f"{kind}{os.urandom(12).hex()}" for kind in ("access", "secret", "token"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateS3:
    """A running server, and every folder in which commands that use it may leave something."""

    uri: str
    """Of its bucket, which holds the tiny domains."""
    folder: Path
    """Where the bucket lies on disk."""
    scratch: Path
    """For caches and output; the bucket is below it too."""
    ray: Path
    """Where Ray keeps its sockets and logs."""

    @property
    def settings(self) -> tuple[str, ...]:
        """Arguments that make a command read and write on the server."""
        return (
            *("--storage", f"{self.uri}/runs", "--set", f"data.root={self.uri}/domains"),
            *("--set", f"data.cache={self.scratch / 'cache'}"),
        )

    def files(self) -> list[Path]:
        """Domains, runs, caches, what commands printed, and Ray's logs."""
        return [
            path
            for place in (self.scratch, self.ray)
            for path in place.rglob("*")
            if path.is_file()
        ]


@contextmanager
def private_s3(domains: Path, *, scratch: Path) -> Iterator[PrivateS3]:
    """Start a server that holds these domains; this process's environment has its credentials."""
    server = LocalS3(scratch / "s3", access_key=ACCESS, secret_key=SECRET)
    uri = server.make_bucket(BUCKET)
    folder = scratch / "s3" / BUCKET
    shutil.copytree(domains, folder / "domains")
    with (
        server,
        pytest.MonkeyPatch.context() as environment,
        tempfile.TemporaryDirectory(prefix="ray-") as ray,  # its sockets need a short path
    ):
        for name, value in server.environment.items():
            environment.setenv(name, value)
        environment.setenv("AWS_SESSION_TOKEN", TOKEN)
        environment.setenv("RAY_TMPDIR", ray)
        environment.delenv("AWS_PROFILE", raising=False)
        yield PrivateS3(uri=uri, folder=folder, scratch=scratch, ray=Path(ray))


def assert_holds_no_secret(files: list[Path]) -> None:
    """Find neither the secret key nor the session token in any of the files."""
    for path in files:
        content = path.read_bytes()
        for name, value in (("secret key", SECRET), ("session token", TOKEN)):
            assert value.encode() not in content, f"the {name} is in {path}"
