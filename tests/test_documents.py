"""What a stranger wrote is refused in one line, or is exactly what its schema says."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import TypeAdapter

from daam.documents import (
    Count,
    MalformedError,
    Number,
    Share,
    check_values,
    parse_json,
    parse_toml,
)
from tests.support.damage import damaged_bytes


@dataclass(frozen=True)
class Row:
    """A row with one value of each kind."""

    name: str
    count: Count
    share: Share
    number: Number


ROW, ANY = TypeAdapter(Row), TypeAdapter(Any)
GOOD = b'{"name": "a", "count": 3, "share": 1, "number": -2.5}'


def test_a_document_that_fits_its_schema_is_read() -> None:
    assert parse_json(GOOD, ROW) == Row(name="a", count=3, share=1, number=-2.5)
    assert parse_toml(b'a.b = [1, "x"]') == {"a": {"b": [1, "x"]}}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"3", b"true"),
        (b"3", b"-1"),
        (b"3", b"3.0"),
        (b"3", b'"3"'),
        (b"3", b"9223372036854775808"),
        (b"1,", b"7,"),
        (b"1,", b"NaN,"),
        (b"1,", b"true,"),
        (b"-2.5", b"-Infinity"),
        (b"-2.5", b"1e999"),
        (b"-2.5", b"1" + b"0" * 400),
        (b'"a"', b'"\\u0000"'),
        (b'"a"', b'"\\ud800"'),
        (b'"a"', b"null"),
        (b'"name": "a", ', b""),
    ],
)
def test_no_value_is_converted_to_fit(old: bytes, new: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_json(GOOD.replace(old, new, 1), ROW)


@pytest.mark.parametrize(
    ("name", "content"), [pytest.param(*each, id=each[0]) for each in damaged_bytes(GOOD)]
)
def test_accidents_are_named_in_a_short_line(name: str, content: bytes) -> None:
    if name.startswith("a flipped bit"):
        return  # which may be in a name
    with pytest.raises(MalformedError) as caught:
        parse_json(content, ROW)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    if name != "empty":  # a whole TOML file
        with pytest.raises(MalformedError):
            parse_toml(content)


def test_text_about_an_escape_is_no_nul() -> None:
    assert parse_json(rb'"C:\\u0000"', ANY) == r"C:\u0000"
    with pytest.raises(MalformedError, match="NUL"):
        parse_json(rb'"C:\\\u0000"', ANY)


def test_values_without_a_schema_have_a_depth() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(MalformedError, match="too deeply"):
        check_values(endless)
    with pytest.raises(MalformedError, match="more than 64 bits"):
        parse_toml(b"seed = 9223372036854775808")
