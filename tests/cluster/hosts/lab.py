"""Hosts on one machine: a switch, a store on it, hosts that become a cluster, and an operator.

10.77.0.254      the switch and the store
10.77.0.1        the operator's computer, with a checkout in ~/daam
10.77.0.10 ...   the hosts; the first is the cluster's head
"""

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.hosts.host import UNSHARED, VENV, Host
from tests.cluster.hosts.store import HostedStore
from tests.cluster.hosts.switch import Switch, run
from tests.support.commands import ROOT

NETWORK = "10.77.0"
# The environment of the tests need not have daam installed.
OPERATORS_SHELL = f"""
. ~/.config/daam/s3.sh
export PATH={VENV / "bin"}:$PATH
daam() {{ python ~/daam/launch.py "$@"; }}
"""
OPERATOR, FIRST_HOST = 1, 10  # last bytes of their addresses
PROGRAMS = {"ip": "iproute2", "sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync"}


def missing() -> str:
    """Return why there can be no hosts on this machine; empty if there can."""
    if os.geteuid() != 0:
        return "hosts on one machine need root"
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"hosts on one machine need {program} (Debian's {package})"
    trial = (
        "mount -t tmpfs disk /mnt && cd /mnt && mkdir changes work root && "
        "mount -t overlay -o lowerdir=/,upperdir=changes,workdir=work overlay root && "
        "mount -t proc proc root/proc && mount -t sysfs -o ro sysfs root/sys"
    )
    command = ["unshare", *UNSHARED, "--fork", "--kill-child", "sh", "-c", trial]
    tried = subprocess.run(command, check=False, text=True, capture_output=True, timeout=60)
    if tried.returncode != 0:
        return f"namespaces or overlays are forbidden here: {tried.stderr.strip()}"
    return ""


class Lab:
    """All of it, inside a `with` block.

    Attributes:
        hosts: the first is the head.
        operator: types the commands.
        store: of domains, studies and runs.
    """

    def __init__(self, folder: Path, *, num_hosts: int, num_cpus: int = 1) -> None:
        """
        Args:
            folder: empty; of the store's files, of logs and keys.
            num_hosts: of the cluster.
            num_cpus: that each of them has.
        """
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id")])
        self._switch = Switch()
        self.store = HostedStore(self._switch, folder / "store", log=folder / "store.log")
        exports = "".join(
            f"export {name}={value}\n" for name, value in self.store.environment.items()
        )
        self.hosts = [
            Host(
                self._switch,
                name=f"host{number}",
                address=f"{NETWORK}.{FIRST_HOST + number}",
                folder=folder,
                files={".config/daam/s3.sh": exports},
                num_cpus=num_cpus,
            )
            for number in range(num_hosts)
        ]
        self.operator = Host(
            self._switch,
            name="operator",
            address=f"{NETWORK}.{OPERATOR}",
            folder=folder,
            files={
                ".ssh/id_ed25519": (folder / "id").read_text(),
                ".bashrc": OPERATORS_SHELL,
                ".config/daam/s3.sh": exports,
            },
            checkout=ROOT,
        )
        self._stack = ExitStack()

    @property
    def head(self) -> Host:
        """The first host."""
        return self.hosts[0]

    def __enter__(self) -> Self:
        with self._stack:  # closes what has started if the rest does not
            self._stack.enter_context(self._switch)
            self._stack.enter_context(self.store)
            for host in (self.operator, *self.hosts):
                self._stack.callback(host.close)
                host.start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
