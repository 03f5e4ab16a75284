"""`daam dashboard`: the report of a study in a browser, kept up to date."""

import signal
from contextlib import suppress
from typing import Annotated

import typer

from daam.commands.terminal.screen import print_line


def dashboard(
    study: Annotated[str, typer.Argument(help="Folder of a study, local or s3://.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 for a free one.")
    ] = 8080,
) -> None:
    """Show a study in a browser, while it runs and afterwards: report and optuna-dashboard."""
    from daam.commands.web.local_page import LocalPage
    from daam.commands.web.study_routes import optuna_of, study_routes
    from tune.folder.folder import read_folder

    folder, _ = read_folder(study)
    # Stop the server on `kill`, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    page = LocalPage(study_routes(folder), port=port, application=optuna_of(folder))
    with suppress(KeyboardInterrupt), page:
        print_line(f"{folder.uri}: {page.address}")
        print_line("The address is for you alone. Ctrl-C ends it.")
        page.serve()
