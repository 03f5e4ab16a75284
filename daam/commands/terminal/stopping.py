"""Stopping a command from outside: SIGTERM, which Slurm and `docker stop` send, and Ctrl-C."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from daam.commands.terminal.screen import as_started, console
from daam.errors import DaamError

PATIENCE_S = 8.0  # docker sends SIGKILL after 10

_words = ["stopped; what is stored is complete: give the same command again"]


@contextmanager
def last_words(text: str) -> Iterator[None]:
    """Set what is said if the command has to be ended at once within the block."""
    _words.append(text)
    try:
        yield
    finally:
        _words.pop()


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Stop on SIGTERM as on Ctrl-C; the exit code is 143.

    The handler of Ctrl-C is called: Ray Tune has its own while a search runs. Slurm signals Ray's
    processes, too, and Ray then waits a minute for them. So a command that has not ended after a
    few seconds is ended at once: what can be resumed is stored already.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    at_once = threading.Timer(PATIENCE_S, end_at_once)
    at_once.daemon = True
    received = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if received:  # scancel sends two, and the second would interrupt the clean-up
            return
        received = True
        at_once.start()
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(on_ctrl_c):  # ignored, as in the background of a shell
            raise KeyboardInterrupt
        on_ctrl_c(number, frame)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except DaamError as error:
        if received and error.exit_code == 128 + signal.SIGINT:
            error.exit_code = 128 + signal.SIGTERM
        raise
    finally:
        at_once.cancel()
        signal.signal(signal.SIGTERM, before)


def end_at_once() -> None:
    """End this process without cleaning up."""
    console.show_cursor()
    typer.echo(f"daam: {as_started(_words[-1])}", err=True)
    os._exit(128 + signal.SIGTERM)
