"""Write the pages that are generated from the code: settings, commands and the Python API.

`make docs` runs it before it builds the site; the pages are not committed.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import tomlkit
import typer

import daam.api
from daam.commands.app import app
from daam.config.reference import Setting, settings_reference
from tune.settings import StudySettings

MODULES = re.compile(r"\b(?:[a-z]\w*\.)+(?=[A-Z])")
PAGES = Path(__file__).parent / "reference"

SETTINGS = """\
# Settings

A run's settings, by their dotted path. Set them in a TOML file (`--config`) or one at a time
(`--set loss.target.eps=0.5`). `daam config` prints them, and `daam config --schema` a JSON schema.
Unknown names and values out of range are refused.
"""

STUDY = """\
## study

Only for `daam tune`, in the table `[study]` of a study file ([Tune](../guides/tune.md)).
"""

COMMANDS = """\
# Commands

`daam COMMAND --help` prints the same, `daam --version` the version, and `daam --install-completion`
sets up completion in the shell. In a checkout, `python launch.py` is the same as `daam`.
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
    """Every setting of a run and of a study: default, allowed values, meaning."""
    parts = [SETTINGS]
    for section, settings in groupby(settings_reference(), key=section_of):
        parts += [f"## {section or 'The run'}", settings_table(settings)]
    parts += [STUDY, settings_table(settings_reference(StudySettings, prefix="study."))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def section_of(setting: Setting) -> str:
    """The table of a settings file that a setting stands in."""
    return setting.path.rpartition(".")[0]


def settings_table(settings: Iterable[Setting]) -> str:
    """The settings of one section."""
    rows = [
        (
            f"`{setting.path}`",
            "required"
            if setting.default is None
            else f"`{tomlkit.item(setting.default).as_string()}`",
            setting.allowed,
            setting.meaning[:1].upper() + setting.meaning[1:],
        )
        for setting in settings
    ]
    return table(("Setting", "Default", "Allowed", "Meaning"), rows)


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


if __name__ == "__main__":
    main()
