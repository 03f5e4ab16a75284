"""Settings and their values as text."""

from html import escape
from typing import Any


def searched(spec: Any) -> str:
    """Return an entry of the table `[search]` as HTML."""
    if isinstance(spec, list):
        return one_of(spec)
    if "choices" in spec:
        found = one_of(spec["choices"])
    else:
        found = f"{shown(spec['low'])} to {shown(spec['high'])}"
    found += ", log scale" if spec.get("log") else ""
    found += f", in steps of {shown(spec['step'])}" if spec.get("step") else ""
    for parent, values in spec.get("when", {}).items():
        choices = values if isinstance(values, list) else [values]
        found += f", when <code>{escape(parent)}</code> is {one_of(choices, first='')}"
    return found


def one_of(values: list[Any], *, first: str = "one of ") -> str:
    """Return choices as HTML."""
    return first + ", ".join(shown(value) for value in values)


def shown(value: Any) -> str:
    """Return a value as HTML."""
    return escape(as_text(value))


def as_text(value: Any) -> str:
    """Return a value as it stands in a settings file, floats with three digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
