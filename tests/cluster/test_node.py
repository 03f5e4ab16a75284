"""cluster/node.sh and environment.sh on this machine, with a home and a scratch of their own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "cluster"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a host, with the environment of these tests as the one that is installed."""
    daam = tmp_path / "home" / "daam"
    (daam / "cluster").mkdir(parents=True)
    (daam / ".venv").symlink_to(sys.prefix)
    for script in CLUSTER.glob("*.sh"):
        shutil.copy(script, daam / "cluster")
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    return tmp_path / "home"


@pytest.fixture
def node(home: Path) -> Iterator[Run]:
    """Run node.sh as its command line says; what it left running is stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] - 10
    scratch = Path("/tmp") / f"node-{os.getpid()}"  # noqa: S108  (sockets: pytest's is too long)
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "RAY_TMPDIR": str(scratch)}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", home / "daam/cluster/node.sh", *words],
            env={**variables, "DAAM_PORT": str(port), **more},
            capture_output=True,
            text=True,
        )

    yield run
    run("stop")
    shutil.rmtree(scratch, ignore_errors=True)


def processes_of(scratch: str) -> list[str]:
    """Command lines of the processes that have to do with a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            places = [os.readlink(entry) for entry in (process / "fd").iterdir()]
            command = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if scratch in command or any(place.startswith(scratch) for place in places):
            found.append(command)
    return found


def stand_in_for_ray(home: Path, script: str) -> None:
    """Put an environment in place whose `ray` is a script."""
    venv = home / "daam" / ".venv"
    venv.unlink()
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "ray").write_text(f"#!/bin/sh\n{script}\n")
    (venv / "bin" / "ray").chmod(0o755)


def test_shellcheck_finds_nothing() -> None:
    scripts = sorted(CLUSTER.glob("*.sh"))
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "-x", *scripts],
        cwd=CLUSTER.parent,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_environment_holds_what_the_guide_promises(shell: str, home: Path) -> None:
    site = home / ".config" / "daam" / "s3.sh"
    site.parent.mkdir(parents=True)
    site.write_text("export AWS_ENDPOINT_URL=http://192.0.2.20:9000\n")
    # `ray up` gives OMP_NUM_THREADS=1 to all it runs.
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [shell, "-euc", ". ~/daam/cluster/environment.sh && command -v python && pwd && env"],
        env=variables | {"RAY_health_check_period_ms": "500", "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        check=True,
    )
    python, directory, *lines = done.stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert python == str(home / "daam/.venv/bin/python")
    assert directory == str(home / "daam")
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_USAGE_STATS_ENABLED"] == "0"
    assert found["AWS_ENDPOINT_URL"] == "http://192.0.2.20:9000"
    assert found["RAY_health_check_period_ms"] == "500"
    assert "OMP_NUM_THREADS" not in found
    assert done.stderr == ""


def test_a_host_without_the_wheel_or_with_a_damaged_one_installs_nothing(
    home: Path, node: Run
) -> None:
    done = node("install")
    assert done.returncode == 1
    assert "SHA256SUMS is missing: start the cluster with 'daam cluster up'" in done.stderr
    wheel = home / "daam" / "cluster" / "wheel"
    wheel.mkdir()
    (wheel / "requirements.lock").write_text("cut off")
    (wheel / "SHA256SUMS").write_text(f"{'0' * 64}  requirements.lock\n")
    done = node("install")
    assert done.returncode == 1
    assert "wheel is damaged; run 'daam cluster up' again" in done.stderr


def test_a_word_that_is_none_is_refused(node: Run) -> None:
    done = node("restart")
    assert done.returncode == 1
    assert "install, head, worker or stop" in done.stderr


def test_a_start_that_fails_is_repeated_and_says_why(home: Path, node: Run) -> None:
    stand_in_for_ray(home, 'echo "Exception: the node timed out during startup" >&2; exit 1')
    done = node("head", DAAM_START_ATTEMPTS="2")
    assert done.returncode == 1
    for words in (
        "attempt 1 of 2",
        "attempt 2 of 2",
        "ray start failed: Exception: the node timed",
    ):
        assert words in done.stdout
    assert "Ray did not start in 2 attempts" in done.stderr


def test_a_start_that_hangs_is_ended(home: Path, node: Run) -> None:
    stand_in_for_ray(home, "exec sleep 600")
    begin = time.monotonic()
    done = node("head", DAAM_START_ATTEMPTS="1", DAAM_START_S="1")
    assert time.monotonic() - begin < 30
    assert done.returncode == 1
    assert "ray start did not return within 1 s" in done.stdout


def test_a_worker_without_a_head_says_where_it_looked(node: Run) -> None:
    done = node("worker", RAY_HEAD_IP="127.0.0.1")
    assert done.returncode == 1
    assert "no head answers at 127.0.0.1:" in done.stderr


@pytest.mark.cluster
@pytest.mark.slow
def test_a_head_starts_once_and_leaves_nothing(home: Path, node: Run) -> None:
    options = ("--num-cpus=0", "--object-store-memory=80000000", "--dashboard-port=0")
    scratch = f"/tmp/node-{os.getpid()}"  # noqa: S108
    first = node("head", *options)
    assert first.returncode == 0, first.stdout + first.stderr
    session = (home / "daam" / "sessions").read_text()
    assert any("gcs_server" in command for command in processes_of(scratch))
    again = node("head", *options)
    assert "runs already" in again.stdout
    assert (home / "daam" / "sessions").read_text() == session
    other = node("head", *options, "--num-gpus=0")
    assert "Ray runs" in other.stdout
    assert (home / "daam" / "sessions").read_text() != session
    assert node("stop").returncode == 0
    assert processes_of(scratch) == []
    assert list(Path(scratch).glob("*")) == []
    assert {path.name for path in (home / "daam").iterdir()} == {
        ".venv",
        "cluster",
        "node.lock",
        "node.log",
    }
