"""SIGTERM stops a command as Ctrl-C does, and once."""

import os
import signal

import pytest

from daam.commands.terminal.stopping import sigterm_as_ctrl_c


def test_a_second_sigterm_does_not_interrupt_the_cleaning_up() -> None:
    steps = []

    def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            steps.append("began")
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("ended")

    with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
        command()
    assert steps == ["began", "ended"]


def test_the_handler_from_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
