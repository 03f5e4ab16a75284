"""OpenStack Swift starts from its package alone, checks who asks, and accounts for what it sent."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daam.errors import StorageError
from daam.storage import open_store
from tests.conftest import BUCKET
from tests.support.swift_server import SwiftServer


@pytest.fixture
def swift(swift_server: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> SwiftServer:
    """The server, named by the AWS variables."""
    for name, value in swift_server.environment.items():
        monkeypatch.setenv(name, value)
    return swift_server


def test_its_log_says_how_many_bytes_each_key_sent(swift: SwiftServer) -> None:
    store = open_store(f"s3://{BUCKET}/log")
    store.write("a +ü", bytes(1000))
    for _ in range(3):
        store.read("a +ü")
    store.read_range("a +ü", start=10, size=5)
    assert swift.bytes_sent()[f"/{BUCKET}/log/a +ü"] == 3005


def test_it_checks_signatures(swift: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match="refuses the credentials"):
        open_store(f"s3://{BUCKET}").read("key")


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from tests.support.swift_server import SwiftServer

print(SwiftServer(Path({str(tmp_path)!r})).__enter__().endpoint, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert killed.returncode == -9
    _, host, port = killed.stdout.strip().replace("//", "").split(":")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _listens(host, int(port)):
        time.sleep(0.05)
    assert not _listens(host, int(port))


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return False
    return True
