"""The local S3 server keeps its secret, says why it cannot start, and is gone afterwards."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from daam.errors import StorageError
from daam.storage.local_s3 import LocalS3


def test_the_secret_is_not_in_the_arguments_of_any_process(s3_server: LocalS3) -> None:
    secret = s3_server.environment["AWS_SECRET_ACCESS_KEY"].encode()
    serving = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        serving += b"serve\0s3\0" in arguments
        assert secret not in arguments
    assert serving


def test_it_is_gone_after_the_block(tmp_path: Path) -> None:
    with LocalS3(tmp_path / "new", access_key="access", secret_key="secret") as server:
        host, port = server.endpoint.removeprefix("http://").split(":")
        socket.create_connection((host, int(port))).close()
    assert host == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = LocalS3(tmp_path, access_key="access", secret_key="secret", port=port)
        with pytest.raises(StorageError, match=f"did not start on 127.0.0.1:{port}"), server:
            pass


@pytest.mark.parametrize("key", ["", "ab", 'quo"te', "with,comma"])
def test_keys_the_server_cannot_take_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(StorageError, match="secret key"):
        LocalS3(tmp_path, access_key="access", secret_key=key)


def test_a_bucket_must_have_a_name_and_a_place(tmp_path: Path) -> None:
    server = LocalS3(tmp_path / "s3", access_key="access", secret_key="secret")
    with pytest.raises(StorageError, match="'Bad Bucket!' is not the name of a bucket"):
        server.make_bucket("Bad Bucket!")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot create the folder"):
        LocalS3(tmp_path / "file", access_key="access", secret_key="secret").make_bucket("daam")


def test_serve_takes_its_server_along_when_it_is_terminated(tmp_path: Path) -> None:
    command = [sys.executable, "launch.py", "data", "serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serve:
        assert serve.stdout is not None
        address = re.search(r"http://127.0.0.1:(\d+)", serve.stdout.readline())
        assert address is not None
        serve.terminate()
        assert serve.wait(20) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address[1])))
