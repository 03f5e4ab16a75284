"""`daam dashboard`: a study in a browser, by optuna-dashboard."""

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
    """Show a study in a browser, also while it runs: optuna-dashboard, read-only, until Ctrl-C."""
    from tune.dashboard import LOOPBACK, dashboard_server, require_dashboard
    from tune.folder.folder import read_folder

    require_dashboard()
    folder, _ = read_folder(study)
    # Stop the server on `kill`, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), dashboard_server(folder, port=port) as server:
        print_line(f"{folder.uri}: http://{LOOPBACK}:{server.server_port}/dashboard, read-only")
        print_line("Ctrl-C ends it.")
        server.serve_forever()
