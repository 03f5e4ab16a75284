"""A message of daam is one line of printable text, whatever it quotes."""

import pytest

from daam.errors import DaamError, ShardError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("plain: ümlaut, \\n and  two spaces", "plain: ümlaut, \\n and  two spaces"),
        ("two\n  lines\r\nor three\u2028", "two lines or three "),
        ("\x1b[2Jcleared", "\\x1b[2Jcleared"),
        ("a\0b\x7f\x9b", "a\\x00b\\x7f\\x9b"),
        ("\u202eright to left", "\\u202eright to left"),
        ("not UTF-8: \udcff", "not UTF-8: \\udcff"),
    ],
)
def test_what_cannot_be_printed_is_escaped(message: str, shown: str) -> None:
    assert str(ShardError(message)) == shown
    assert str(DaamError(str(ShardError(message)))) == shown
    assert shown.isprintable()
