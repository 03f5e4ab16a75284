"""All commands together, and their exit codes.

0: done. 1: a bug, or a study that paused. 2: what a user can fix. 130: Ctrl-C. 143: SIGTERM.

Slow imports (Ray, torch) happen inside the commands that need them, so `--help` answers at once.
"""

import warnings
from typing import Annotated

import typer

from daam import __version__
from daam.commands.cluster import cluster
from daam.commands.compare import compare
from daam.commands.dashboard import dashboard
from daam.commands.data import data
from daam.commands.embed import embed
from daam.commands.evaluate import evaluate
from daam.commands.export import export
from daam.commands.label import label
from daam.commands.search import search
from daam.commands.settings import show_settings
from daam.commands.terminal.screen import as_started
from daam.commands.terminal.stopping import sigterm_as_ctrl_c
from daam.commands.train import train
from daam.commands.tune import tune
from daam.errors import DaamError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(tune)
app.command()(dashboard)
app.command()(train)
app.command()(evaluate)
app.command()(compare)
app.command()(export)
app.command()(embed)
app.command()(label)
app.command()(search)
app.command("config")(show_settings)
app.add_typer(data, name="data")
app.add_typer(cluster, name="cluster")


def print_version(wanted: bool) -> None:  # noqa: FBT001  (typer's way)
    """Print the version and end."""
    if wanted:
        typer.echo(f"daam {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: FBT002  (typer's way)
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train and tune models for unsupervised cross-domain person re-identification."""


def main() -> int:
    """Run a command and return its exit code; a failure prints one line that says what is wrong."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged images, which errors name
    try:
        with sigterm_as_ctrl_c():
            app()
    except DaamError as error:
        typer.echo(f"daam: {as_started(' '.join(str(error).split()))}", err=True)
        return error.exit_code
    return 0
