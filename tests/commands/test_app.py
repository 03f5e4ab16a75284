"""What ends a command from outside, and its exit code."""

import os
import signal
import time
from pathlib import Path

import pytest

from daam.commands import app
from daam.errors import RunInterruptedError
from tests.support.commands import Launch, started_python

SLOW_TO_END = """
import time
from daam.commands import app
from daam.commands.terminal import stopping

def run():
    print("running", flush=True)
    with stopping.last_words("the study was stopped; resume with: daam tune --resume runs/a"):
        try:
            time.sleep(60)
        finally:
            time.sleep(60)  # as Ray does once its other processes are gone

app.app, stopping.PATIENCE_S = run, 0.5
app.main()
"""


@pytest.mark.parametrize("on_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_stops_as_ctrl_c_does_even_where_that_is_ignored(
    command: Launch, monkeypatch: pytest.MonkeyPatch, on_ctrl_c: signal.Handlers
) -> None:
    def run() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise RunInterruptedError(
                "the run was stopped; resume with: daam train --resume runs/a"
            ) from error

    monkeypatch.setattr(app, "app", run)
    before = signal.signal(signal.SIGINT, on_ctrl_c), signal.getsignal(signal.SIGTERM)
    try:
        ended = command()
        assert signal.getsignal(signal.SIGTERM) == before[1]
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert ended.code == 143
    assert ended.err.endswith("resume with: python launch.py train --resume runs/a\n")


def test_ctrl_c_still_has_its_own_exit_code(
    command: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> None:
        raise RunInterruptedError("the run was stopped; give the same command again")

    monkeypatch.setattr(app, "app", run)
    assert command().code == 130


def test_sigterm_ends_a_command_that_hangs_while_it_cleans_up(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW_TO_END)
    with started_python(str(script), scratch=tmp_path / "out") as command:
        command.until(lambda: "running" in command.out)
        begin = time.monotonic()
        command.process.send_signal(signal.SIGTERM)
        finished = command.finished(within_s=30)
    assert time.monotonic() - begin < 20
    assert finished.code == 143
    assert finished.err == ("daam: the study was stopped; resume with: daam tune --resume runs/a\n")
