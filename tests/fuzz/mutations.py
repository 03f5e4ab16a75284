"""Strategies for inputs close to real files: a few edits of bytes, or of a document's values."""

import copy
import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

MAX_EDITS = 4
MAX_SPAN = 64  # bytes
# Where sizes, counts and offsets break.
NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
NUMBERS += (2**40, 2**62, 2**63 - 1)
NUMBERS += tuple(-number for number in NUMBERS[1:])

SHOWN_BYTES = 100


class Input(bytes):
    """An input, of which a failing test shows the beginning alone."""

    def __repr__(self) -> str:
        rest = f" and {len(self) - SHOWN_BYTES} more" if len(self) > SHOWN_BYTES else ""
        return f"{bytes(self[:SHOWN_BYTES])!r}{rest}"


Places = Callable[[bytes], Sequence[range]]
Seal = Callable[[bytes], bytes]


def mutated_bytes(
    samples: Sequence[bytes], *, places: Places | None = None, seal: Seal | None = None
) -> SearchStrategy[bytes]:
    """Real files after one to four edits: bits, numbers, spans, cuts.

    Args:
        places: of a sample, the bytes where edits reach deepest, such as offsets; half of the edits
            are there.
        seal: recomputes the checksums inside a file, so that an edit is not refused for them alone;
            half of the files are sealed.
    """
    hot = {sample: tuple(places(sample)) if places else () for sample in samples}

    @st.composite
    def mutate(draw: DrawFn) -> bytes:
        sample = draw(st.sampled_from(samples))
        data = sample
        for _ in range(draw(st.integers(1, MAX_EDITS))):
            if not data:
                break
            data = edited(draw, data, hot=hot[sample], others=samples)
        return seal(data) if seal is not None and draw(st.booleans()) else data

    return mutate().map(Input)


def edited(
    draw: DrawFn, data: bytes, *, hot: Sequence[range] = (), others: Sequence[bytes] = ()
) -> bytes:
    """Bytes, of which there is at least one, after one edit; see `mutated_bytes`."""
    inside = [span for span in hot if span.stop <= len(data) and span]
    if inside and draw(st.booleans()):
        span = draw(st.sampled_from(inside))
        at = draw(st.integers(span.start, span.stop - 1))
    else:
        at = draw(st.integers(0, len(data) - 1))
    end = min(len(data), at + draw(st.integers(1, MAX_SPAN)))
    match draw(st.sampled_from(("bit", "number", "number", "bytes", "remove", "repeat", "other"))):
        case "bit":
            return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
        case "number":
            kind = draw(st.sampled_from(["<b", "<h", "<i", "<q", ">h", ">i"]))
            size = struct.calcsize(kind)
            at -= at % size if draw(st.booleans()) else 0
            number = draw(st.sampled_from(NUMBERS)) & (1 << 8 * size) - 1
            order = "little" if kind[0] == "<" else "big"
            return data[:at] + number.to_bytes(size, order) + data[at + size :]
        case "bytes":
            new = draw(st.binary(max_size=16))
            return data[:at] + new + data[at + len(new) :]
        case "remove":  # a span, or all that follows
            return data[:at] + draw(st.sampled_from((data[end:], b"")))
        case "repeat":
            return data[:end] + data[at:]
        case _:  # a span of another file, at the same place
            other = draw(st.sampled_from((data, *others)))
            return data[:at] + other[at:end] + data[end:]


# Values that no schema should take for what they replace.
VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    7,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\0",
    "\n",
    "../../outside",
    "/outside",
    "\ud800",
    "a" * 100_000,
    [],
    {},
    [[]] * 3,
    {"a": {"b": None}},
)
TOML_VALUES = (
    *("true", "-1", "0", "7", "1e400", "nan", "-inf", "9" * 400, "0x7fffffffffffffff", "1.0", ""),
    *('""', '"\\u0000"', '"\\n"', '"../../outside"', '"/outside"', '"s3://bucket/prefix"'),
    *("[]", "{}", "[[], {}]", '["a", 1]', "{a = {b = 1}}", "2026-11-30", "12:00:00", '"""'),
    f'"{"a" * 10_000}"',
)
DEPTHS = (100, 10_000, 200_000)


def mutated_json(samples: Sequence[bytes]) -> SearchStrategy[bytes]:
    """JSON documents after one to four edits of values or keys; some are nested beyond all use."""

    @st.composite
    def mutate(draw: DrawFn) -> bytes:
        document = json.loads(draw(st.sampled_from(samples)))
        for _ in range(draw(st.integers(1, MAX_EDITS))):
            document = _edited_document(draw, document)
        return _nested(draw, json.dumps(document)).encode()

    return mutate().map(Input)


def mutated_json_lines(samples: Sequence[bytes]) -> SearchStrategy[bytes]:
    """Files of JSON documents, one a line, after edits of a few documents or of their order."""

    @st.composite
    def mutate(draw: DrawFn) -> bytes:
        lines = draw(st.sampled_from(samples)).splitlines()
        for _ in range(draw(st.integers(1, MAX_EDITS))):
            at = draw(st.integers(0, len(lines) - 1))
            match draw(st.sampled_from(("edit", "edit", "edit", "remove", "copy"))):
                case "edit":
                    document = _edited_document(draw, json.loads(lines[at]))
                    lines[at] = json.dumps(document).encode()
                case "remove" if len(lines) > 1:
                    del lines[at]
                case _:
                    lines.insert(draw(st.integers(0, len(lines))), lines[at])
        return b"".join(line + b"\n" for line in lines)

    return mutate().map(Input)


def mutated_toml(samples: Sequence[bytes]) -> SearchStrategy[bytes]:
    """TOML documents after one to four edits of lines: another value, gone, twice, elsewhere."""

    @st.composite
    def mutate(draw: DrawFn) -> bytes:
        lines = draw(st.sampled_from(samples)).decode().splitlines()
        for _ in range(draw(st.integers(1, MAX_EDITS))):
            at = draw(st.integers(0, len(lines) - 1))
            key, equals, _ = lines[at].partition(" = ")
            match draw(st.sampled_from(("value", "value", "value", "remove", "copy"))):
                case "value" if equals:
                    value = _nested(draw, draw(st.sampled_from(TOML_VALUES)))
                    lines[at] = f"{key} = {value}"
                case "remove" if len(lines) > 1:
                    del lines[at]
                case _:
                    lines.insert(draw(st.integers(0, len(lines))), lines[at])
        return "\n".join(lines).encode()

    return mutate().map(Input)


def _nested(draw: DrawFn, text: str) -> str:
    """The text, once in twenty times with a value nested too deeply."""
    if draw(st.integers(0, 19)):
        return text
    depth = draw(st.sampled_from(DEPTHS))
    return re.sub(r"null|true|\d+", lambda _: "[" * depth + "]" * depth, text, count=1)


def _edited_document(draw: DrawFn, document: Any) -> Any:
    """The document with a value replaced, removed or copied to elsewhere, or a key added."""
    places = list(_places_in(document))
    if not places:
        return copy.deepcopy(draw(st.sampled_from(VALUES)))
    holder, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(("replace", "replace", "remove", "copy", "add"))):
        case "replace":
            holder[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        case "remove":
            del holder[key]
        case "copy":
            other, other_key = draw(st.sampled_from(places))
            holder[key] = copy.deepcopy(other[other_key])
        case _:
            if isinstance(holder, dict):
                new = draw(st.sampled_from(("", "\0", "../x", "unknown")))
                holder[new] = copy.deepcopy(holder[key])
            else:
                holder.append(copy.deepcopy(holder[key]))
    return document


def _places_in(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a document, as what holds it and its key there."""
    if isinstance(document, dict | list):
        for key in list(document) if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from _places_in(document[key])
