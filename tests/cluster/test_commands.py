"""`daam cluster ...` as far as one machine can show it: files, faults, refusals, one real Ray."""

import json
import stat
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from daam.cluster.check import inspect_cluster
from daam.cluster.faults import faults_in
from daam.cluster.file import read_cluster_file
from daam.cluster.remote import ssh, target
from daam.cluster.up import join_host, keep_token
from daam.cluster.wheel import LOCKS, SUMS, prepare_wheel
from daam.commands.cluster import absent, conclude, missing_lines
from daam.commands.terminal.screen import console
from daam.errors import ClusterError
from daam.execution.connection import connected
from tests.support.commands import ROOT, Launch


@pytest.fixture
def onprem(tmp_path: Path) -> Path:
    """cluster/onprem.yaml, filled in."""
    tree = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text())
    tree["provider"] |= {"head_ip": "10.0.0.10", "worker_ips": ["10.0.0.11", "10.0.0.12"]}
    path = tmp_path / "filled_in.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def healthy(address: str, *, is_head: bool = False) -> dict[str, Any]:
    return {
        "address": address,
        "is_head": is_head,
        "ray_gpus": 1.0,
        "versions": {"python": "3.11.7", "ray": "2.60.0", "torch": "2.15.0", "daam": "0.1.0"},
        "commit": "0123456789ab",
        "auth_mode": "token",
        "token_rights": "0o600",
        "gpus": ["NVIDIA A10G, 580.1"],
        "cache_error": None,
        "free_gb": 40.0,
        "clock_s": 0.0,
        "unreachable": [],
        "store": {"read_mb_s": 200.0, "write_mb_s": 100.0},
    }


def document() -> dict[str, Any]:
    hosts = [healthy("10.0.0.10", is_head=True), healthy("10.0.0.11"), healthy("10.0.0.12")]
    return {"hosts": hosts, "all_reduce": "nccl, 3.1 s over 3 machines", "num_hosts": 3}


# --- files --------------------------------------------------------------------------------------


def test_a_file_with_the_examples_machines_is_refused(command: Launch) -> None:
    for words in (["up"], ["check"], ["join"], ["down"]):
        host = ["192.0.2.11"] if words == ["join"] else []
        ended = command("cluster", *words, str(ROOT / "cluster" / "onprem.yaml"), *host)
        assert ended.code == 2
        assert "192.0.2.10, 192.0.2.11, 192.0.2.12; fill in your machines" in ended.err


def test_a_filled_in_file_says_which_machines_are_expected(onprem: Path) -> None:
    file = read_cluster_file(onprem)
    assert (file.head, file.workers) == ("10.0.0.10", ("10.0.0.11", "10.0.0.12"))
    assert (file.num_hosts, file.is_rented) == (3, False)
    assert file.setup == ("bash ~/daam/cluster/node.sh install",)
    assert file.start == ("bash ~/daam/cluster/node.sh worker",)


def test_of_rented_machines_the_least_number_is_expected(tmp_path: Path) -> None:
    tree = yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text())
    tree["available_node_types"]["gpu_worker"]["min_workers"] = 2
    path = tmp_path / "aws.yaml"
    path.write_text(yaml.safe_dump(tree))
    file = read_cluster_file(path)
    assert (file.num_hosts, file.is_rented, file.workers) == (3, True, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("a: [", "is not YAML"),
        ("name: daam", "not a file for `ray up`: KeyError"),
        ("- daam", "not a file for `ray up`"),
    ],
)
def test_what_is_no_cluster_file_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ClusterError, match=message):
        read_cluster_file(path)


def test_workers_behind_the_head_are_reached_through_it(onprem: Path) -> None:
    tree = yaml.safe_load(onprem.read_text())
    tree["provider"]["external_head_ip"] = "203.0.113.7"
    onprem.write_text(yaml.safe_dump(tree))
    file = read_cluster_file(onprem)
    assert target(file, "10.0.0.10") == "ubuntu@203.0.113.7"
    assert not any("ProxyCommand" in word for word in ssh(file, "10.0.0.10"))
    (proxy,) = [word for word in ssh(file, "10.0.0.11") if "ProxyCommand" in word]
    assert proxy.endswith("-W %h:%p ubuntu@203.0.113.7")


def test_a_machine_that_the_file_does_not_name_is_not_taken(onprem: Path) -> None:
    with pytest.raises(ClusterError, match=r"10.0.0.13 is not a worker .* 10.0.0.11, 10.0.0.12"):
        join_host(read_cluster_file(onprem), "10.0.0.13")


# --- what up prepares ---------------------------------------------------------------------------


def test_the_token_is_made_once_and_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    assert keep_token()
    text = token.read_text()
    assert len(text) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    token.chmod(0o644)
    assert not keep_token()
    assert token.read_text() == text
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_without_a_checkout_a_wheel_that_lies_there_is_used(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="must hold one wheel of daam"):
        prepare_wheel(tmp_path)
    folder = tmp_path / "cluster" / "wheel"
    folder.mkdir(parents=True)
    for name in ("daam-0.1.0-py3-none-any.whl", *LOCKS):
        (folder / name).write_text(name)
    assert prepare_wheel(tmp_path) == "daam-0.1.0-py3-none-any.whl"
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder, check=True)
    (folder / "daam-0.2.0-py3-none-any.whl").touch()
    with pytest.raises(ClusterError, match="must hold one wheel of daam"):
        prepare_wheel(tmp_path)


# --- faults -------------------------------------------------------------------------------------


def test_a_healthy_cluster_has_no_fault() -> None:
    assert faults_in(document()) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"versions": healthy("")["versions"] | {"torch": "2.14.0"}}, "torch 2.14.0, the head has"),
        ({"commit": "fedcba987654"}, "daam of commit fedcba987654, the head's is of 0123456789ab"),
        ({"auth_mode": "disabled"}, "without the token"),
        ({"token_rights": "0o644"}, "others can read the token; chmod 600"),
        ({"clock_s": 7.25}, "its clock is 7.2 s ahead of the head's"),
        ({"clock_s": -7.25}, "its clock is 7.2 s behind the head's"),
        ({"cache_error": "/cache: Permission denied"}, "cannot be written: /cache: Permission"),
        ({"free_gb": 0.4}, "0.4 GB free for the image cache"),
        ({"store": {"error": "s3://b is not there; make it"}}, "s3://b is not there; make it"),
        (
            {"unreachable": ["10.0.0.12:40001 (timed out)"]},
            "connect to 10.0.0.12:40001 (timed out)",
        ),
        ({"gpus": []}, "0 GPUs, and Ray counts 1"),
    ],
)
def test_each_fault_is_one_line_that_names_the_machine(changes: dict[str, Any], fault: str) -> None:
    found = document()
    found["hosts"][1] |= changes
    (line,) = faults_in(found)
    assert line.startswith("10.0.0.11: ")
    assert fault in line
    assert "\n" not in line


def test_a_machine_that_does_not_answer_is_one_fault() -> None:
    found = document()
    found["hosts"][2] = {
        "address": "10.0.0.12",
        "is_head": False,
        "ray_gpus": 0.0,
        "error": "ModuleNotFoundError: No module named 'daam'",
    }
    (line,) = faults_in(found)
    assert line.startswith("10.0.0.12: ModuleNotFoundError")


def test_an_all_reduce_that_failed_is_a_fault() -> None:
    found = document() | {"all_reduce": "failed with nccl: 10.0.0.11: timed out"}
    (line,) = faults_in(found)
    assert "NCCL_SOCKET_IFNAME" in line


def test_a_missing_machine_is_named_with_the_reason_and_the_command(onprem: Path) -> None:
    file = read_cluster_file(onprem)
    found = document()
    del found["hosts"][1]
    assert absent(file, found) == ["10.0.0.11"]
    (line,) = missing_lines(file, found, {"10.0.0.11": "10.0.0.11: node.sh: Ray did not start"})
    assert line == (
        "10.0.0.11 is not in the cluster: node.sh: Ray did not start; then "
        f"`daam cluster join {onprem} 10.0.0.11`"
    )


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_faulty", [False, True])
def test_a_check_is_a_table_of_80_columns_and_a_line_per_fault(
    is_faulty: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 200)
    monkeypatch.setattr(console, "stderr", False)
    found = document()
    found["hosts"][2]["free_gb"] = 0.2 if is_faulty else 40.0
    with pytest.raises(typer.Exit) if is_faulty else nullcontext() as ended:
        conclude(found, [])
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "10.0.0.10 (head)" in shown.out
    assert "200 r, 100 w" in shown.out
    assert len(shown.err.splitlines()) == is_faulty
    if ended is not None:
        assert ended.value.exit_code == 2
        with pytest.raises(typer.Exit):
            conclude(found, [], as_json=True)
        assert json.loads(capsys.readouterr().out) == found | {"faults": faults_in(found)}


@pytest.mark.cluster
@pytest.mark.slow
def test_one_real_machine_is_asked_everything(s3_uri: str) -> None:
    with connected(num_cpus=1):
        found = inspect_cluster(store=f"{s3_uri}/check", all_reduce=True, num_hosts=1, wait_s=0)
    (host,) = found["hosts"]
    assert host["is_head"]
    assert host["store"]["read_mb_s"] > 0
    assert host["versions"]["ray"]
    assert abs(host["clock_s"]) < 0.1
    assert host["unreachable"] == []
    assert found["all_reduce"].startswith("gloo")
    # A Ray for this machine alone asks for no token of other machines.
    assert [fault for fault in faults_in(found) if "token" not in fault] == []
