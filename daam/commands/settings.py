"""`daam config`: every setting of a run."""

from typing import Annotated

import tomlkit
import typer
from rich.markup import escape
from rich.table import Table

from daam.commands.terminal.options import Settings
from daam.commands.terminal.screen import console
from daam.config.load import load_config, parse_settings, setting
from daam.config.reference import settings_reference
from daam.config.schema import RunConfig


def show_settings(
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON schema.")] = False,  # noqa: FBT002  (typer's way)
    preset: Annotated[str | None, typer.Option(help="A preset that comes with daam.")] = None,
    settings: Settings = None,
) -> None:
    """Show every setting of a run: path, value, allowed values, meaning. Piped, it is TOML."""
    if schema:
        console.print_json(data=RunConfig.model_json_schema())
        return
    config = load_config(parse_settings(settings or []), preset=preset)
    table = Table("setting", "value", "allowed", "meaning", box=None)
    for known in settings_reference():
        value = setting(config, known.path)
        if console.is_terminal:
            table.add_row(known.path, str(value), escape(known.allowed), known.meaning)
        else:  # a line holds all there is to a setting, for grep
            value = tomlkit.item(value).as_string()
            typer.echo(f"{known.path} = {value}  # {known.allowed}: {known.meaning}")
    if console.is_terminal:
        console.print(table)
