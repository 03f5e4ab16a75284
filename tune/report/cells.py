"""Values of settings as text."""

from html import escape
from typing import Any


def spec_in_words(spec: Any) -> str:
    """Return an entry of the search space as HTML."""
    if isinstance(spec, list):
        return f"one of {', '.join(shown(value) for value in spec)}"
    scale = ", log scale" if spec.get("log") else ""
    step = f", in steps of {shown(spec['step'])}" if spec.get("step") else ""
    return f"{shown(spec['low'])} to {shown(spec['high'])}{scale}{step}"


def shown(value: Any) -> str:
    """Return a value as HTML; floats with three digits."""
    return escape(f"{value:.3g}" if isinstance(value, float) else str(value))
