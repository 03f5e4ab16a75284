"""Every setting with its default, what it may be and what it means, read off the schema."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from daam.config.load import setting
from daam.config.schema import RunConfig
from daam.config.section import Section

TYPES = {
    "array": "list of text",
    "boolean": "true | false",
    "integer": "integer",
    "number": "number",
    "string": "text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting as a user sees it.

    Attributes:
        path: its dotted path, as `--set` takes it.
        default: its value where nothing sets it; None if something has to.
        allowed: its choices, or its type and range.
        meaning: what it does.
    """

    path: str
    default: Any
    allowed: str
    meaning: str


@cache  # a report of a run asks after every epoch
def settings_reference(
    model: type[Section] = RunConfig, *, prefix: str = ""
) -> tuple[Setting, ...]:
    """Return every setting of a run, or of another model, in the schema's order."""
    schema = model.model_json_schema()
    return tuple(_settings_of(schema, schema.get("$defs", {}), prefix=prefix))


def changed_settings(config: RunConfig) -> Iterator[tuple[Setting, Any]]:
    """Yield the settings of a run that differ from the defaults, with their values."""
    for known in settings_reference():
        value = setting(config, known.path)
        if value != known.default:
            yield known, value


def _settings_of(
    section: Mapping[str, Any], sections: Mapping[str, Any], *, prefix: str
) -> Iterator[Setting]:
    for name, node in section["properties"].items():
        if "$ref" in node:
            below = sections[node["$ref"].rpartition("/")[2]]
            yield from _settings_of(below, sections, prefix=f"{prefix}{name}.")
        else:
            yield Setting(
                path=prefix + name,
                default=node.get("default"),
                allowed=_allowed(node),
                meaning=node["description"],
            )


def _allowed(node: Mapping[str, Any]) -> str:
    if "anyOf" in node:
        return " | ".join(map(_allowed, node["anyOf"]))
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return " | ".join(str(choice) for choice in node["enum"])
    kind = TYPES[node["type"]]
    if node.get("items", {}).get("type") == "object":
        kind = "list of tables"
    low, high = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if high is None and below is None:
        return f"{kind} >= {low}" if low is not None else kind
    lower = f"[{low}" if above is None else f"({above}"
    upper = f"{high}]" if below is None else f"{below})"
    return f"{kind} in {lower}, {upper}"
