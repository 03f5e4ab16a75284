"""JSON and TOML documents as untrusted input.

A file in the folder of a run may have been truncated by a full disk, edited by hand or written by
somebody else. Encoding, depth and every value are checked before anything is used.
"""

import re
import tomllib
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from daam.errors import DaamError

T = TypeVar("T")

MAX_DEPTH = 32
MAX_INT = 2**63 - 1
MAX_SHOWN = 100
# In JSON and TOML; an even number of backslashes before it is text about an escape.
ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\(?:u0000|U00000000|x00)")

Count = Annotated[int, Field(ge=0, le=MAX_INT)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Number = Annotated[int, Field(ge=-MAX_INT, le=MAX_INT)] | Finite
Share = Annotated[float, Field(ge=0, le=1 + 1e-6)]
"""From 0 to 1, but for the rounding of a mean; never NaN."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class MalformedError(DaamError, ValueError):
    """Content is not what its name promises; the message does not say where, its caller does."""


def parse_json(content: bytes, schema: TypeAdapter[T]) -> T:
    """Return a JSON document as its schema has it; no value is converted to fit.

    Raises:
        MalformedError: it is not JSON in UTF-8, is nested too deeply, or a value has another type
            or is out of range.
    """
    checked_text(content)
    try:
        return schema.validate_json(content, strict=True)
    except ValidationError as error:
        raise MalformedError(first_problem(error)) from error


def parse_toml(content: bytes) -> dict[str, Any]:
    """Return a TOML document, whose values are not checked yet.

    Raises:
        MalformedError: it is not TOML in UTF-8, is nested too deeply, or has a whole number of more
            than 64 bits.
    """
    try:
        tree = tomllib.loads(checked_text(content))
    except RecursionError as error:
        raise MalformedError("it is nested too deeply") from error
    except MalformedError:
        raise
    except ValueError as error:
        raise MalformedError(f"it is not valid TOML: {error}") from error
    check_values(tree)
    return tree


def check_values(tree: Any) -> None:
    """Check nested tables and lists of settings, which no schema has checked yet.

    Raises:
        MalformedError: they are nested too deeply for what reads them, or hold a whole number of
            more than 64 bits or anything but tables, lists, numbers and text.
    """
    left = [(tree, 0)]
    while left:
        value, depth = left.pop()
        if depth > MAX_DEPTH:
            raise MalformedError("it is nested too deeply")
        if isinstance(value, int) and abs(value) > MAX_INT:
            raise MalformedError("it has a whole number of more than 64 bits")
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            left += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list | tuple):
            left += [(inner, depth + 1) for inner in value]
        elif not isinstance(value, str | int | float | None):
            raise MalformedError(f"it has a {type(value).__name__}, which no setting is")


def checked_text(content: bytes) -> str:
    """Decode a document.

    Raises:
        MalformedError: it is not UTF-8, or has NUL characters, which no name or path can have.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"it is not UTF-8 text from byte {error.start} on") from error
    if "\0" in text or ESCAPED_NUL.search(text):
        raise MalformedError("it has NUL characters")
    return text


def first_problem(error: ValidationError) -> str:
    """Describe the first thing that is wrong, in a few words."""
    detail = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in detail["loc"])[:MAX_SHOWN]
    message = detail["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def shortened(value: object) -> str:
    """Return a value as Python would write it, and of a long one the beginning."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
