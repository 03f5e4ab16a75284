"""`daam compare`: several runs beside each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from daam.commands.terminal.options import AsJson
from daam.commands.terminal.screen import console, print_files, print_json
from daam.errors import ConfigError
from daam.storage import open_store
from daam.storage.atomic import atomic_write

if TYPE_CHECKING:
    from daam.runs.report.comparison import Comparison


def compare(
    runs: Annotated[list[str], typer.Argument(help="Folders of runs, local or on S3.")],
    to: Annotated[Path | None, typer.Option(help="HTML file to write, with curves.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Compare runs: the settings that differ, losses, groups, scores."""
    if len(runs) < 2:
        raise ConfigError("name at least two runs to compare: daam compare runs/a runs/b")
    if to is not None and to.suffix != ".html":
        raise ConfigError(f"--to {to}: the page is HTML; let its name end in .html")
    from daam.runs.report.comparison import compare_runs, comparison_page

    found = compare_runs([open_store(run) for run in runs])
    console.print(comparison_table(found))
    if to is not None:
        atomic_write(to, [comparison_page(found).encode()])
        print_files([to])
    if as_json:
        print_json(found.as_document())


def comparison_table(found: "Comparison") -> Table:
    """A row for each figure and for each setting that differs, a column for each run."""
    from daam.runs.report.comparison import as_text

    table = Table()
    table.add_column("", overflow="fold")
    for name in found.names:
        table.add_column(Text(name), justify="right", overflow="fold")
    for rows in (found.figures, found.settings):
        for name, values in rows.items():
            table.add_row(
                Text(name), *(Text("" if value is None else as_text(value)) for value in values)
            )
        table.add_section()
    return table
