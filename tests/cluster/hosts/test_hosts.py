"""The hosts of a lab are apart, end as real ones do, and leave nothing on the machine."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.hosts.cluster import until
from tests.cluster.hosts.host import Host
from tests.cluster.hosts.lab import Lab
from tests.cluster.hosts.store import BUSY_PORT as BUSY_STORE
from tests.cluster.hosts.store import PORT as STORE
from tests.cluster.hosts.switch import ADDRESS
from tests.support.commands import ROOT

pytestmark = pytest.mark.slow

SSH = 22
FOLDERS = ("/tmp", "/dev/shm", "/run", "/var", "/home/daam")  # noqa: S108 (of the host)
LOG_IN = "ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5"
SERVER = """
import socket
end, _ = socket.create_server(("", 7000)).accept()
print("connected")
end.recv(1)
"""
# Connects to the server, and prints what it hears of it in three seconds.
CLIENT = """
import socket, sys, time
for _ in range(50):
    try:
        end = socket.create_connection((sys.argv[1], 7000))
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
end.settimeout(3)
print("connected")
try:
    end.recv(1)
    print("closed")
except ConnectionError:
    print("closed")
except TimeoutError:
    print("silence")
"""
LAB = """
import sys, time
from pathlib import Path
from tests.cluster.hosts.lab import Lab
with Lab(Path(sys.argv[1]), num_hosts=1) as lab:
    print("up", flush=True)
    time.sleep(1000)
"""


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    return start_lab(num_hosts=2)


def reaches(host: Host, address: str, port: int) -> bool:
    connect = f"timeout 2 bash -c '< /dev/tcp/{address}/{port}' && echo yes"
    return "yes" in host.run(connect, check=False)


def test_the_operators_key_opens_every_host(lab: Lab) -> None:
    for host in lab.hosts:
        seen = lab.operator.run(f"{LOG_IN} root@{host.address} 'hostname; pwd; ls'")
        assert seen.split() == [host.name, "/home/daam", "daam"]


def test_a_host_has_processes_of_its_own(lab: Lab) -> None:
    one, other = lab.hosts
    with one.running("sleep 1000"):
        until(lambda: list(one.processes().values()) == ["sleep 1000"], "it runs, and it alone")
        assert not other.processes()
        assert "sleep" in one.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "sleep" not in other.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_host_has_files_of_its_own(lab: Lab, folder: str) -> None:
    one, other = lab.hosts
    one.run(f"touch {folder}/of-one")
    assert other.run(f"ls {folder}/of-one", check=False) == ""
    assert not Path(folder, "of-one").exists()


def test_a_cut_cable_parts_a_host_from_the_others_and_from_the_store(lab: Lab) -> None:
    one, other = lab.hosts
    for up in (True, False, True):
        one.set_link(up=up)
        assert reaches(one, ADDRESS, STORE) is up
        assert reaches(other, one.address, SSH) is up
        assert reaches(other, ADDRESS, STORE)


@pytest.mark.parametrize(("end", "heard"), [("crash", "closed"), ("power_off", "silence")])
def test_the_others_hear_of_a_crash_and_not_of_a_power_cut(lab: Lab, end: str, heard: str) -> None:
    one, other = lab.hosts
    one.run("touch /var/of-one")
    with (
        one.running(f"python3 -u -c {shlex.quote(SERVER)}") as server,
        other.running(f"python3 -u -c {shlex.quote(CLIENT)} {one.address}") as client,
    ):
        assert server.readline() == client.readline() == "connected\n"
        getattr(one, end)()
        assert client.readline() == f"{heard}\n"
    one.start()
    assert reaches(other, one.address, SSH)
    assert one.run("ls /var/of-one", check=False) == "", "its disk is a new one"


def test_a_stopped_store_refuses_until_it_is_started(lab: Lab) -> None:
    lab.store.stop()
    assert not reaches(lab.head, ADDRESS, STORE)
    lab.store.start()
    assert reaches(lab.head, ADDRESS, STORE)


def test_a_busy_store_turns_requests_away(lab: Lab) -> None:
    program = (
        "import sys, urllib.request, urllib.error\n"
        "try: urllib.request.urlopen(sys.argv[1])\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    with lab.store.busy(share=1.0) as endpoint:
        ask = f"python3 -c {shlex.quote(program)}"
        assert lab.head.run(f"{ask} {endpoint}") == "503\n"
        assert lab.head.run(f"{ask} http://{ADDRESS}:{STORE}") == "400\n", "of the store itself"
    assert not reaches(lab.head, ADDRESS, BUSY_STORE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_lab_leaves_nothing_however_its_process_ends(
    lab: Lab, tmp_path: Path, number: signal.Signals
) -> None:
    before = traces()
    with subprocess.Popen(
        [sys.executable, "-c", LAB, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        assert traces()["namespaces"] > before["namespaces"]
        program.send_signal(number)
    until(lambda: traces() == before, "nothing is left")


def traces() -> dict[str, set[str]]:
    """What a lab could leave on the machine."""
    namespaces = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            namespaces.add(str((process / "ns/net").readlink()))
        except OSError:  # it has ended meanwhile
            continue
    interfaces = Path("/proc/net/dev").read_text().splitlines()
    return {
        "namespaces": namespaces,
        "mounts": set(Path("/proc/mounts").read_text().splitlines()),
        "interfaces": {line.split(":")[0] for line in interfaces},
    }
