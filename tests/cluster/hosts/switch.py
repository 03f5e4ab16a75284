"""A network of its own, which ends with the process that made it and that nothing else can see.

A process keeps the namespaces of a network alive. It reads from a pipe of ours and ends when the
pipe closes, so even SIGKILL of the tests leaves nothing behind; no namespace has a name, and no
interface is ever in the machine's own network.
"""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ADDRESS = "10.77.0.254"
PREFIX_LENGTH = 24
PATIENCE_S = 20


class Switch:
    """A bridge that hosts are plugged into, inside a `with` block."""

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--pid", "--fork", "--kill-child", "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests, which take everything down in order
        )
        self.pid = first_child(self._holder)
        self._ip("link", "add", "bridge", "type", "bridge")
        self._ip("addr", "add", f"{ADDRESS}/{PREFIX_LENGTH}", "dev", "bridge")
        for name in ("lo", "bridge"):
            self._ip("link", "set", name, "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end(self._holder)

    def inside(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line that runs a program in this network; it ends with the switch."""
        return ["nsenter", f"--target={self.pid}", "--net", "--pid", "--", *arguments]

    def plug(self, port: str, *, pid: int, address: str) -> None:
        """Connect the network of a process, which becomes known by this address."""
        # Made from the address: a host that is started again is the same to the others.
        mac = ":".join(f"{int(byte):02x}" for byte in ("2", "0", *address.split(".")))
        peer = ("peer", "name", "eth0", "address", mac, "netns", str(pid))
        self._ip("link", "add", port, "type", "veth", *peer)
        self._ip("link", "set", port, "master", "bridge", "up")
        for arguments in (
            ("addr", "add", f"{address}/{PREFIX_LENGTH}", "dev", "eth0"),
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", ADDRESS),
        ):
            run(["nsenter", f"--target={pid}", "--net", "--", "ip", *arguments])

    def unplug(self, port: str) -> None:
        """Remove a port, if it is there."""
        with suppress(subprocess.CalledProcessError):
            self._ip("link", "del", port)

    def set_link(self, port: str, *, up: bool) -> None:
        """Connect or cut a cable: without it, packets are lost without an error."""
        self._ip("link", "set", port, "up" if up else "down")

    def shape(self, port: str, mbit_per_s: int | None) -> None:
        """Limit what goes out of a port, to what is plugged in there; None: no limit."""
        queue = ("pfifo", "limit", "1000")
        if mbit_per_s is not None:
            queue = ("tbf", "rate", f"{mbit_per_s}mbit", "burst", "1mb", "latency", "50ms")
        inside = ["nsenter", f"--target={self.pid}", "--net", "--"]
        run([*inside, "tc", "qdisc", "replace", "dev", port, "root", *queue])

    def _ip(self, *arguments: str) -> None:
        run(["nsenter", f"--target={self.pid}", "--net", "--", "ip", *arguments])


def run(arguments: Sequence[str]) -> str:
    """Run a short program of the machine; return what it prints.

    Raises:
        CalledProcessError: it failed; the notes hold what it said.
    """
    try:
        return subprocess.run(
            arguments, check=True, text=True, capture_output=True, timeout=PATIENCE_S
        ).stdout
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise


def first_child(parent: subprocess.Popen[Any]) -> int:
    """Return the process that `unshare --fork` started: the first of the new namespace."""
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    while True:
        if found := children.read_text().split():
            return int(found[0])
        if parent.poll() is not None:
            raise RuntimeError(f"{parent.args} ended with {parent.returncode}")


def end(holder: subprocess.Popen[bytes]) -> None:
    """End the processes of a namespace, all at once, by the first of them."""
    assert holder.stdin is not None
    holder.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        holder.wait(PATIENCE_S)
        return
    holder.kill()
    holder.wait()
