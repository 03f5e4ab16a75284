"""A Ray cluster on the hosts of a lab, brought up and used as docs/guides/cluster.md says."""

import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.hosts.host import Host
from tests.cluster.hosts.lab import Lab

FILE = "cluster/onprem.yaml"
UP_S, DOWN_S, JOB_S = 300, 120, 600
ENDS = {"SUCCEEDED", "FAILED", "STOPPED"}


@dataclass(slots=True)
class Cluster:
    """The hosts of a lab as one cluster."""

    lab: Lab
    token: str = field(default="", init=False)

    def fill_in(self) -> None:
        """Make the token, and put the hosts into the cluster's file."""
        first, *others = (host.address for host in self.lab.hosts)
        changes = {
            "head_ip": first,
            "worker_ips": f"[{', '.join(others)}]",
            "ssh_user": "root",
        }
        script = "; ".join(f"s/^( +{key}:).*/\\1 {value}/" for key, value in changes.items())
        self.operate(f"sed -i -E {shlex.quote(script)} {FILE}")
        self.operate("ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token")
        self.token = self.lab.operator.run("cat ~/.ray/auth_token").strip()

    def operate(self, command: str, *, check: bool = True, within_s: float = 120) -> str:
        """Run a command at the operator's computer, in the root of the checkout."""
        return self.lab.operator.run(
            f". ~/.bashrc && cd ~/daam && {command}", check=check, within_s=within_s
        )

    def up(self) -> None:
        """Start Ray on all hosts."""
        self.operate(f"RAY_UP_enable_autoscaler_v2=0 ray up -y {FILE}", within_s=UP_S)
        until(lambda: len(self.alive()) == len(self.lab.hosts), "all hosts are in the cluster")

    def down(self) -> None:
        """Stop Ray on all hosts."""
        self.execute("ray stop", check=False)
        self.operate(f"ray down -y {FILE}", within_s=DOWN_S)

    def execute(self, command: str, *, check: bool = True) -> str:
        """Run a command in daam's environment on the head, from the operator's computer."""
        command = f". ~/daam/environment.sh && {command}"
        return self.operate(f"ray exec {FILE} {shlex.quote(command)}", check=check)

    def submit(self, job: str, *arguments: str) -> None:
        """Submit `daam ARGUMENTS` as a job."""
        words = shlex.join(("python", "launch.py", *arguments))
        self.execute(f"ray job submit --no-wait --submission-id {job} -- {words}")

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
        """Return the addresses of the hosts that are in the cluster, as the head knows them."""
        try:
            nodes = self.ask("/nodes?view=summary")["data"]["summary"]
        except AssertionError:  # the dashboard is not up yet
            return set()
        return {node["ip"] for node in nodes if node["raylet"].get("state") == "ALIVE"}

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

    def hosts_of_trials(self) -> list[Host]:
        """Return the hosts on which a trial's process runs now."""
        return [
            host
            for host in self.lab.hosts
            if any(
                re.match(r"ray::(ImplicitFunc|.*trial-\d)", title)
                for title in host.processes("ray::").values()
            )
        ]


def until(happened: Callable[[], object], what: str, *, within_s: float = 120) -> None:
    """Wait until something is the case.

    Raises:
        AssertionError: it takes too long.
    """
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"waited {within_s} s until {what}"
        time.sleep(0.3)
