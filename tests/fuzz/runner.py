"""Runs inputs of a target in a worker, which is started anew when an input ends it."""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.fuzz.worker import BAD, ROOT

TIMEOUT_S = 60  # of an input, on a busy machine; the first of a target imports what it needs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an input came to: right, refused or bad; and why, unless it is right."""

    kind: str
    reason: str | None


class Worker:
    """A process that reads inputs, one at a time."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="daam-fuzz-")

    def run(self, target: str, data: bytes) -> Outcome:
        """Read an input of a target."""
        process = self._process or self._start()
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps([target, len(data)]).encode() + b"\n" + data)
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                if not selector.select(self._timeout_s):
                    self._stop()
                    return Outcome(BAD, f"no end after {self._timeout_s:g} s")
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if answer:
            return Outcome(*json.loads(answer))
        code = process.wait()
        self._stop()
        return Outcome(BAD, signal.strsignal(-code) if code < 0 else f"exit code {code}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._folder.cleanup()

    def _start(self) -> subprocess.Popen[bytes]:
        scratch = Path(self._folder.name)
        environment = os.environ | {
            "TMPDIR": str(scratch),
            "OMP_NUM_THREADS": "1",
            "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve address space
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for old in scratch.iterdir():
            shutil.rmtree(old)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", str(scratch)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
