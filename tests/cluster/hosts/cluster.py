"""A Ray cluster on the hosts of a lab, brought up and used as cluster/README.md says."""

import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.hosts.host import Host
from tests.cluster.hosts.lab import Lab

FILE = "cluster/onprem.yaml"
DOMAINS, STORE = "s3://domains", "s3://studies"
COMMAND_S, UP_S, JOB_S = 180, 600, 600
ENDS = {"SUCCEEDED", "FAILED", "STOPPED"}
# On a worker all other processes of Ray's that have such a title train.
OF_RAY = re.compile(r"ray::(IDLE|\w*Agent|JobSupervisor|SPILL|RESTORE)")


@dataclass(slots=True, kw_only=True)
class Cluster:
    """The hosts of a lab as one cluster.

    Attributes:
        lab: whose hosts they are.
        cpus_of_head: that trials may use.
    """

    lab: Lab
    cpus_of_head: int = 1
    token: str = field(default="", init=False)

    def fill_in(self, domains: Path) -> None:
        """Put the hosts into the cluster's file, and domains into the store."""
        self.lab.store.add("domains", domains)
        self.lab.store.add("studies")
        first, *others = (host.address for host in self.lab.hosts)
        changes = {"head_ip": first, "worker_ips": f"[{', '.join(others)}]", "ssh_user": "root"}
        script = "; ".join(f"s/^( +{key}:).*/\\1 {value}/" for key, value in changes.items())
        script += f"; s/node.sh head/node.sh head --num-cpus={self.cpus_of_head}/"
        self.operate(f"sed -i -E {shlex.quote(script)} {FILE}")

    def operate(self, command: str, *, check: bool = True, within_s: float = COMMAND_S) -> str:
        """Run a command at the operator's computer, in the root of the checkout."""
        return self.lab.operator.run(
            f". ~/.bashrc && cd ~/daam && {command}", check=check, within_s=within_s
        )

    def up(self) -> None:
        """Bring all hosts up."""
        self.operate(f"daam cluster up {FILE} --store {STORE}", within_s=UP_S)
        self.token = self.lab.operator.run("cat ~/.ray/auth_token").strip()

    def join(self, host: Host) -> None:
        """Have a host join again, which ends no job."""
        self.operate(f"daam cluster join {FILE} {host.address}", within_s=UP_S)

    def down(self) -> None:
        """Take all hosts down."""
        self.operate(f"daam cluster down {FILE}")

    def execute(self, command: str, *, check: bool = True) -> str:
        """Run a command in daam's environment on the head, from the operator's computer."""
        command = f". ~/daam/cluster/environment.sh && {command}"
        return self.operate(f"ray exec {FILE} {shlex.quote(command)}", check=check)

    def send(self, name: str, text: str) -> None:
        """Put a file into ~/daam on the head, where jobs run."""
        self.lab.operator.write(name, text)
        self.operate(f"ray rsync-up {FILE} ~/{name} '~/daam/{name}'")

    def submit(self, job: str, *arguments: str) -> None:
        """Submit `daam ARGUMENTS` as a job."""
        words = shlex.join(("daam", *arguments))
        self.execute(f"ray job submit --no-wait --submission-id {job} -- {words}")

    def folder(self, job: str) -> Path:
        """Return where the store keeps the study or run with the name of a job."""
        return self.lab.store.folder / "studies" / job

    def state(self, job: str) -> str:
        """Return the state of a job, as Ray names it."""
        return str(self.ask(f"/api/jobs/{job}")["status"])

    def log(self, job: str) -> str:
        """Return what a job has printed."""
        return str(self.ask(f"/api/jobs/{job}/logs")["logs"])

    def wait(self, job: str, *, within_s: float = JOB_S) -> str:
        """Wait for the end of a job; return its last state."""
        until(lambda: self.state(job) in ENDS, f"the job {job} ends", within_s=within_s)
        return self.state(job)

    def alive(self) -> set[str]:
        """Return the names of the hosts that are in the cluster, as the head knows them."""
        try:
            nodes = self.ask("/nodes?view=summary")["data"]["summary"]
        except AssertionError:  # the dashboard is not up
            return set()
        alive = {node["ip"] for node in nodes if node["raylet"].get("state") == "ALIVE"}
        return {host.name for host in self.lab.hosts if host.address in alive}

    def ask(self, path: str) -> Any:
        """Ask the dashboard, which listens on the head's loopback alone."""
        program = (
            "import sys, urllib.request as r; "
            "print(r.urlopen(r.Request(sys.argv[1], headers={'Authorization': sys.argv[2]}), "
            "timeout=10).read().decode())"
        )
        url, token = f"http://127.0.0.1:8265{path}", f"Bearer {self.token}"
        return json.loads(
            self.lab.head.run(f"python3 -c {shlex.quote(program)} {url} {shlex.quote(token)}")
        )

    def training(self, host: Host) -> dict[int, str]:
        """Return the processes of a host that train: number -> title."""
        processes = host.processes("ray::").items()
        return {number: title for number, title in processes if not OF_RAY.match(title)}


def until(happened: Callable[[], object], what: str, *, within_s: float = 120) -> None:
    """Wait until something is the case.

    Raises:
        AssertionError: it takes too long.
    """
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"waited {within_s:.0f} s until {what}"
        time.sleep(0.3)
