"""A host: network, mounts, processes, host name and shared memory of its own, reached by ssh.

Its root is the machine's, read through an overlay; what it writes lies in memory and is gone with
it. Home, /tmp, /run and /dev/shm are empty at the start.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.cluster.hosts.switch import PATIENCE_S, Switch, end, first_child

HOME = "/home/daam"
VENV, INTERPRETER = Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()
PATH = f"{INTERPRETER / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
DISK_SIZE, SHM_SIZE, TMP_SIZE = "2g", "1200m", "1g"
UNSHARED = ("--net", "--mount", "--pid", "--uts", "--ipc")
POLL_S = 0.1
STARTED = "host is up"

# The first process of a host. It ends, and with it all others, when its standard input closes.
BOOT = f"""
set -euo pipefail
hostname "$NAME"
mount -t tmpfs -o size={DISK_SIZE} disk "$DISK"
cd "$DISK"
mkdir changes work root
mount -t overlay -o lowerdir=/,upperdir=changes,workdir=work overlay root
mount -t proc proc root/proc
mount -t sysfs -o ro sysfs root/sys
mount --rbind /dev root/dev
mount -t tmpfs -o size={SHM_SIZE} shm root/dev/shm
mount -t tmpfs -o size={TMP_SIZE},mode=1777 tmp root/tmp
mount -t tmpfs run root/run
mkdir -p root/run/sshd root{HOME}/.ssh root{HOME}/daam

# Where the checkout lies below /tmp, or on a disk that is mounted, the overlay does not show it.
for place in "$VENV" "$INTERPRETER"; do
    test ! -e "root$place/bin" || continue
    name=$(echo "$place" | tr / _)
    mkdir -p "root$place" "changes$name" "work$name"
    mount -t overlay -o "lowerdir=$place,upperdir=changes$name,workdir=work$name" \\
        overlay "root$place"
done
if [ -n "$CHECKOUT" ]; then
    mkdir changes-checkout work-checkout
    mount -t overlay -o "lowerdir=$CHECKOUT,upperdir=changes-checkout,workdir=work-checkout" \\
        overlay root{HOME}/daam
else
    ln -s "$VENV" root{HOME}/daam/.venv
fi

# Ray takes a quota of CPU time for the number of CPUs.
mount -t tmpfs cgroup root/sys/fs/cgroup
echo "$((NUM_CPUS * 100000)) 100000" > root/sys/fs/cgroup/cpu.max

chmod 700 root{HOME} root{HOME}/.ssh
cp "$KEY.pub" root{HOME}/.ssh/authorized_keys
echo "export PATH={PATH} LANG=C.UTF-8" > root{HOME}/.bashrc
sed -i 's|^root:.*|root:*:0:0:root:{HOME}:/bin/bash|' root/etc/passwd
printf '127.0.0.1 localhost\\n%s %s\\n' "$ADDRESS" "$NAME" > root/etc/hosts
echo "$NAME" > root/etc/hostname
: > root/etc/resolv.conf
exec chroot root /bin/bash -c '
    ssh-keygen -A > /dev/null
    /usr/sbin/sshd -o UsePAM=no -o PermitRootLogin=yes -o MaxStartups=100 -E /run/sshd.log
    echo {STARTED}
    cat <&0 > /dev/null & wait'
"""


class Host:
    """A host on a switch, from `start` to `close`.

    Attributes:
        name: of the host, and of its port at the switch.
        address: where the others reach it.
    """

    def __init__(
        self,
        switch: Switch,
        *,
        name: str,
        address: str,
        folder: Path,
        files: Mapping[str, str],
        num_cpus: int = 1,
        checkout: Path | None = None,
    ) -> None:
        """
        Args:
            switch: running.
            name, address: see the class.
            folder: holds the key `id` that opens the host, and gets its log.
            files: path relative to its home -> text; what an operator puts there by hand.
            num_cpus: that Ray sees.
            checkout: of daam, to be found in ~/daam; None for a host that gets daam from `up`,
                where ~/daam holds a virtual environment with all that daam needs.
        """
        self.name = name
        self.address = address
        self._switch = switch
        self._folder = folder
        self._files = files
        self._num_cpus = num_cpus
        self._checkout = checkout
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def log(self) -> Path:
        """What the host says while it starts."""
        return self._folder / f"{self.name}.log"

    def start(self) -> None:
        """Start the host with an empty disk, connected to the switch.

        Raises:
            RuntimeError: it does not come up.
        """
        self.close()
        disk = self._folder / self.name
        disk.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *UNSHARED, "--fork", "--kill-child", "bash", "-c", BOOT],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={
                    "PATH": PATH,
                    "NAME": self.name,
                    "ADDRESS": self.address,
                    "DISK": str(disk),
                    "KEY": str(self._folder / "id"),
                    "VENV": str(VENV),
                    "INTERPRETER": str(INTERPRETER),
                    "CHECKOUT": str(self._checkout or ""),
                    "NUM_CPUS": str(self._num_cpus),
                },
                start_new_session=True,
            )
        self._pid = first_child(self._process)
        self._wait_until_up()
        self._switch.plug(self.name, pid=self._pid, address=self.address)
        for path, text in self._files.items():
            self.write(path, text)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        assert self._process is not None
        while STARTED not in self.log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not start: {self.log.read_text()}")
            time.sleep(POLL_S)

    def close(self) -> None:
        """End the host, if it runs."""
        if self._process is not None:
            self._switch.unplug(self.name)
            end(self._process)
            self._process = None

    def power_off(self) -> None:
        """Cut the power: everything ends at once, and no packet says so to anyone."""
        self.set_link(up=False)
        self._kill()

    def crash(self) -> None:
        """Kill every process at once; the kernel still closes their connections."""
        self._kill()

    def _kill(self) -> None:
        assert self._process is not None
        os.kill(self._pid, signal.SIGKILL)
        self._process.wait()

    def set_link(self, *, up: bool) -> None:
        """Connect the host to the switch, or cut its cable."""
        self._switch.set_link(self.name, up=up)

    def shape(self, mbit_per_s: int | None) -> None:
        """Limit what the host receives, and so what others can send it; None: no limit."""
        self._switch.shape(self.name, mbit_per_s)

    def inside(self, command: str, *, environment: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a shell command on the host, from its home."""
        variables = {"HOME": HOME, "USER": "root", "PATH": PATH, "LANG": "C.UTF-8", "TERM": "dumb"}
        return [
            *("nsenter", f"--target={self._pid}", "--net", "--mount", "--pid", "--uts", "--ipc"),
            *("--root", "--wd", "--", "env", "--ignore-environment"),
            *(f"{name}={value}" for name, value in (variables | dict(environment or {})).items()),
            *("bash", "-c", f"cd {HOME} && {command}"),
        ]

    def run(self, command: str, *, check: bool = True, within_s: float = PATIENCE_S) -> str:
        """Run a shell command on the host, in its home; return what it prints.

        Raises:
            AssertionError: it failed; the message holds all it said.
        """
        with subprocess.Popen(
            self.inside(command),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                out, err = process.communicate(timeout=within_s)
            except BaseException:
                with suppress(RuntimeError, ProcessLookupError):  # it has ended meanwhile
                    os.kill(first_child(process), signal.SIGKILL)
                raise
        assert not check or process.returncode == 0, (
            f"{self.name}: {command} ended with {process.returncode}\n{out}\n{err}"
        )
        return out

    @contextmanager
    def running(self, command: str) -> Iterator[IO[str]]:
        """Run a shell command on the host during a `with` block; its output can be read."""
        with subprocess.Popen(
            self.inside(f"exec {command}"), text=True, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            child = first_child(process)
            try:
                yield process.stdout
            finally:
                with suppress(ProcessLookupError):  # the host may have ended
                    os.kill(child, signal.SIGKILL)

    @property
    def is_up(self) -> bool:
        """Whether the host runs."""
        return self._process is not None and self._process.poll() is None

    def write(self, path: str, text: str) -> None:
        """Write a file below the host's home that only its owner can read."""
        quoted = shlex.quote(path)
        subprocess.run(
            self.inside(f'umask 077 && mkdir -p "$(dirname {quoted})" && cat > {quoted}'),
            input=text,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )

    def processes(self, words: str = "") -> dict[int, str]:
        """Return the processes whose command line has these words: number -> command line.

        The numbers are the machine's, for `os.kill`. Without the host's first process, its sshd,
        and dead processes that are not collected yet.
        """
        found: dict[int, str] = {}
        if not self.is_up:
            return found
        namespace = (Path(f"/proc/{self._pid}/ns/pid")).readlink()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "ns/pid").readlink() != namespace:
                    continue
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:  # it has ended meanwhile, or is none of ours
                continue
            is_ours = entry.name == str(self._pid) or title in ("cat", "") or "sshd" in title
            if words in title and not is_ours:
                found[int(entry.name)] = title
        return found
