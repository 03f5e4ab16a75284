"""Ways in which a document differs from what daam wrote, for tests of what reads it."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Document = Any
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    7.5,
    10**400,
    "text",
    "a\0b",
    [],
    {},
    [[[[]]]],
    float("nan"),
    float("inf"),
)


def damaged_bytes(content: bytes, *, is_text: bool = True) -> Iterator[tuple[str, bytes]]:
    """Yield what is left of a file after accidents, each with its name."""
    yield "empty", b""
    yield "cut in half", content[: len(content) // 2]
    yield "without its end", content[:-2]
    yield "NUL", content[:10] + b"\0" + content[10:]
    yield "zeros", bytes(len(content))
    yield "not UTF-8", content[:10] + b"\xff\xfe" + content[10:]
    if is_text:
        yield "UTF-16", content.decode().encode("utf-16")
    yield "deep JSON", b"[" * 100_000
    yield "deep JSON that ends", b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    yield "deep TOML", b"a = " + b"[" * 5_000 + b"]" * 5_000
    yield "deep TOML keys", b"a." * 5_000 + b"a = 1"
    yield "a long number", b"9" * 10_000
    yield "a number", b"3"
    yield "an empty list", b"[]"
    yield "an empty table", b"{}"
    yield "null", b"null"
    for number in range(8):
        place = random.Random(number).randrange(len(content))
        flipped = bytes([content[place] ^ 1 << number])
        yield f"a flipped bit {number}", content[:place] + flipped + content[place + 1 :]


def damaged_values(document: Document) -> Iterator[tuple[str, Document]]:
    """Yield copies of a document of which one value is another or is gone."""
    for path in paths_of(document):
        name = ".".join(map(str, path))
        for value in VALUES:
            yield f"{name} = {str(value)[:20]!r}", changed(document, path, lambda _, new=value: new)
        if path:
            yield f"without {name}", without(document, path)


def paths_of(document: Document, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value, the whole first."""
    yield path
    if isinstance(document, dict | list):
        items = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in items:
            yield from paths_of(value, (*path, key))


def changed(document: Document, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Document:
    """Return a copy with one value changed."""
    if not path:
        return change(document)
    new = copy.copy(document)
    new[path[0]] = changed(document[path[0]], path[1:], change)
    return new


def without(document: Document, path: tuple[Any, ...]) -> Document:
    """Return a copy without one value."""
    *above, last = path

    def removed(parent: Any) -> Any:
        left = copy.copy(parent)
        del left[last]
        return left

    return changed(document, tuple(above), removed)


def damaged_json(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a JSON file after accidents, and with any one value replaced."""
    yield from damaged_bytes(content)
    for name, document in damaged_values(json.loads(content)):
        yield name, json.dumps(document).encode()
