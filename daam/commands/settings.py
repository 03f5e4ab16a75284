"""`daam config`: every setting of a run."""

from typing import Annotated, Any

import typer
from rich.table import Table

from daam.commands.terminal.options import Settings
from daam.commands.terminal.screen import console
from daam.config.load import (
    nested,
    parse_settings,
    read_preset,
    run_config,
    setting,
    setting_paths,
    to_toml,
)
from daam.config.schema import RunConfig


def show_settings(
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON schema.")] = False,  # noqa: FBT002  (typer's way)
    preset: Annotated[str | None, typer.Option(help="One of daam's own presets.")] = None,
    settings: Settings = None,
) -> None:
    """Show every setting of a run: its path, value and meaning."""
    if schema:
        console.print_json(data=RunConfig.model_json_schema())
        return
    config = run_config(
        read_preset(preset) if preset else {}, nested(parse_settings(settings or []))
    )
    if not console.is_terminal:
        typer.echo(to_toml(config), nl=False)
        return
    table = Table("setting", "value", "meaning", box=None)
    for path in setting_paths(RunConfig):
        table.add_row(path, str(setting(config, path)), meaning_of(path))
    console.print(table)


def meaning_of(path: str) -> str:
    """Return the description of a setting."""
    model: Any = RunConfig
    *tables, name = path.split(".")
    for table in tables:
        model = model.model_fields[table].annotation
    return model.model_fields[name].description or ""
