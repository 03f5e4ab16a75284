import sys

import pytest

from daam.commands import app
from daam.commands.terminal.screen import COMMAND, as_started


@pytest.mark.parametrize(
    ("program", "form"), [("/usr/bin/daam", "daam"), ("../launch.py", "python launch.py")]
)
def test_commands_in_messages_have_the_form_that_was_used(
    program: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    assert as_started("daam: resume with: daam tune --resume a") == (
        f"daam: resume with: {form} tune --resume a"
    )


def test_every_command_is_recognised_in_messages() -> None:
    names = {
        command.name or getattr(command.callback, "__name__", "")
        for command in app.app.registered_commands
    } | {group.name for group in app.app.registered_groups}
    assert all(COMMAND.match(f"daam {name} --help") for name in names)


def test_a_terminal_is_sent_no_control_characters() -> None:
    assert as_started("a\x1b[2Jb\r\x9bc\0\td\ne") == "a\\x1b[2Jb\\r\\x9bc\\x00\td\ne"
