"""How commands of launch.py end, and commands as processes of their own, with all they start."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240
# In the folder that every command is given from, as in a user's project: none may be imported.
USERS_MODULES = ("tune.py", "daam.py", "config.py", "utils.py")


class Finished(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Launch = Callable[..., Finished]
"""Runs `launch.py` with arguments in this process."""


class Command:
    """A running command; its output goes to files, so it never blocks on a full pipe."""

    def __init__(self, process: subprocess.Popen[bytes], *, out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._out.read_text()

    def finished(self, *, within_s: float = PATIENCE_S) -> Finished:
        """Wait for its end."""
        code = self.process.wait(within_s)
        return Finished(code=code, out=self.out, err=self._err.read_text())

    def until(self, happened: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
        """Wait until something has happened."""
        deadline = time.monotonic() + within_s
        while not happened():
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the command ended early:\n{self.out}\n{self._err.read_text()}"
                )
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {within_s} s:\n{self.out}")
            time.sleep(0.05)


@contextmanager
def started(*arguments: str, scratch: Path) -> Iterator[Command]:
    """Start `launch.py ARGUMENTS` in a session of its own; kill what is left of it at the end."""
    with started_python(str(ROOT / "launch.py"), *arguments, scratch=scratch) as command:
        yield command


@contextmanager
def started_python(*arguments: str, scratch: Path, stays: bool = False) -> Iterator[Command]:
    """Start `python ARGUMENTS` in the same way; its standard input is empty, or stays open."""
    scratch.mkdir(parents=True, exist_ok=True)
    for name in USERS_MODULES:
        (scratch / name).write_text(f"raise SystemExit('{name} of the user was imported')\n")
    out, err = scratch / "out", scratch / "err"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE if stays else subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
            cwd=scratch,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "200",
                "PYTHONPATH": str(ROOT),
            },
            start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and so would what they start.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield Command(process, out=out, err=err)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        kill_session(process.pid)
        process.wait()


def ran(*arguments: str, scratch: Path) -> Finished:
    """Run `launch.py ARGUMENTS` to its end."""
    with started(*arguments, scratch=scratch) as command:
        return command.finished()


def kill_session(leader: int) -> None:
    """Kill every process of a session: Ray's own are in process groups of their own."""
    while processes := processes_of(leader):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def processes_of(session: int, *, title: str = "") -> list[int]:
    """The processes of a session that still run, whose title begins with these words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # After the name in parentheses: state, parent, process group, session.
            state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            its_title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_session) == session and state not in "ZX" and its_title.startswith(title):
            found.append(int(entry.name))
    return sorted(found)
