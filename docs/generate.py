"""Write the pages that are generated from the code: settings, commands and the Python API.

`make docs` runs it before it builds the site; the pages are not committed.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

import daam.api
from daam.commands.app import app
from daam.config.schema import RunConfig
from tune.space import StudySettings

MODULES = re.compile(r"\b(?:[a-z]\w*\.)+(?=[A-Z])")
PAGES = Path(__file__).parent / "reference"

JSON_TYPES = {
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "string": "str",
    "array": "list of str",
}
BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}

SETTINGS = """\
# Settings

A run's settings, by their dotted path. Set them in a TOML file (`--config`) or one at a time
(`--set loss.target.eps=0.5`). `daam config` prints them in the terminal, and with `--schema` as a
JSON schema. Unknown names and values out of range are refused.
"""

STUDY = """\
## study

Only for `daam tune`, in the table `[study]` of a study file ([Tune](../guides/tune.md)).
"""

COMMANDS = """\
# Commands

`daam COMMAND --help` prints the same. In a checkout, `python launch.py` is the same as `daam`.
"""

API = """\
# Python API

Everything here is importable from `daam`, and works in a notebook. Only a run of several workers
needs Ray. Folders are local or on S3 (`s3://bucket/prefix`). An error that the caller can fix is a
`DaamError`, whose message says what is wrong, where, and what to do.
"""


def main() -> None:
    """Write all generated pages."""
    for name, page in (
        ("settings", settings_page()),
        ("commands", commands_page()),
        ("api", api_page()),
    ):
        (PAGES / f"{name}.md").write_text(page)


def settings_page() -> str:
    """Every setting of a run and of a study: type, default, meaning."""
    schema = RunConfig.model_json_schema()
    parts = [SETTINGS]
    for path, section in sections(schema, schema):
        title = f"## {path}" if path else "## The run"
        parts += [title, section["description"], settings_table(section, prefix=path)]
    study = StudySettings.model_json_schema()
    parts += [STUDY, settings_table(study, prefix="study")]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def sections(
    section: dict[str, Any], schema: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each table of settings with its dotted path, outer tables first."""
    if any("$ref" not in setting for setting in section["properties"].values()):
        yield prefix, section
    for name, setting in section["properties"].items():
        if "$ref" in setting:
            inner = schema["$defs"][setting["$ref"].rpartition("/")[2]]
            yield from sections(inner, schema, f"{prefix}.{name}" if prefix else name)


def settings_table(section: dict[str, Any], *, prefix: str) -> str:
    """One table's own settings."""
    rows = []
    for name, setting in section["properties"].items():
        if "$ref" not in setting:
            path = f"{prefix}.{name}" if prefix else name
            default = shown(setting["default"]) if "default" in setting else "required"
            rows.append((f"`{path}`", allowed(setting), default, sentence(setting["description"])))
    return table(("Setting", "Type", "Default", "Meaning"), rows)


def allowed(setting: dict[str, Any]) -> str:
    """The type of a setting and the values it may have."""
    if "enum" in setting:
        return ", ".join(shown(choice) for choice in setting["enum"])
    kind = JSON_TYPES[setting["type"]]
    if "minimum" in setting and "maximum" in setting:
        return f"{kind}, {setting['minimum']} to {setting['maximum']}"
    bounds = [f"{sign} {setting[key]}" for key, sign in BOUNDS.items() if key in setting]
    return ", ".join([kind, *bounds])


def shown(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def commands_page() -> str:
    """Every command with its arguments and options."""
    parts = [COMMANDS]
    for name, command in commands(typer.main.get_command(app), "daam"):
        context = typer.Context(command)
        records = [record for each in command.params if (record := each.get_help_record(context))]
        rows = [(f"`{option}`", meaning) for option, meaning in records]
        parts += [f"## {name}", " ".join((command.help or "").split())]
        parts.append(table(("Option", "Meaning"), rows))
    return "\n\n".join(parts) + "\n"


def commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command below a group, with the words that run it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def api_page() -> str:
    """Every public name of `daam`: functions first, then what they take and return."""
    public = {name: getattr(daam, name) for name in daam.__all__}
    parts = [API, "## Example", f"```python\n{example_of(daam.api)}\n```"]
    for name, thing in sorted(public.items(), key=lambda each: inspect.isclass(each[1])):
        parts.append(f"## {name}")
        if not inspect.isclass(thing):
            parts.append(f"```python\n{signature(name, thing)}\n```")
        parts.append(as_markdown(inspect.getdoc(thing) or ""))
        if thing is daam.Config:
            parts.append("[Settings](settings.md) has its fields.")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def example_of(module: ModuleType) -> str:
    """The indented example of a module's docstring."""
    lines = (inspect.getdoc(module) or "").splitlines()
    code = [line for line in lines if line.startswith("    ") or not line]
    return inspect.cleandoc("\n".join(code))


def signature(name: str, function: Callable[..., object]) -> str:
    """A call of a function with its types, one parameter a line."""
    found = inspect.signature(function)
    parameters = [str(parameter) for parameter in found.parameters.values()]
    kinds = [parameter.kind for parameter in found.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        parameters.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    inside = "".join(f"    {parameter},\n" for parameter in parameters)
    result = inspect.formatannotation(found.return_annotation)
    text = MODULES.sub("", f"daam.{name}(\n{inside}) -> {result}")
    return re.sub(r"<[\w.]+: (.+?)>", r"\1", text)  # the default of an enum


def as_markdown(docstring: str) -> str:
    """A docstring with sections such as `Args:` as Markdown with lists."""
    text = re.sub(r"(?m)^(Args|Returns|Raises|Attributes):\n", r"**\1**\n\n", docstring)
    text = re.sub(r"(?m)^    (\w+): ", r"- `\1`: ", text)
    text = re.sub(r"(?m)^        (?=\S)", "  ", text)
    return re.sub(r"(?m)^    (?=\S)", "", text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [tuple(head)]
    lines.append(("---",) * len(lines[0]))
    lines += [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def sentence(text: str) -> str:
    """A meaning as a table cell, its first letter a capital."""
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    main()
