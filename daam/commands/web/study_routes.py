"""What the page of `daam dashboard` is: the study's report, and optuna-dashboard beside it."""

from functools import cache
from wsgiref.types import WSGIApplication

from daam.commands.web.local_page import APPLICATION, Request, Response, Route
from daam.storage import MissingKeyError, Store
from tune.dashboard import is_installed, optuna_dashboard
from tune.report.page import REPORT

LINK = (
    f'<p class="note"><a href="{APPLICATION}">optuna-dashboard</a> has interactive plots of the '
    "trials.</p>"
)
NO_REPORT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="3">
<title>daam</title></head>
<body><p>The study has no report yet. It is written when the search begins; this page loads itself
again.</p></body></html>
"""


def study_routes(folder: Store) -> dict[tuple[str, str], Route]:
    """Return the routes of the page of a study.

    The report is read from the study's folder for each request, so it is as new as the driver has
    written it, and reloads itself as long as the study runs.

    Args:
        folder: of the study.
    """

    def page(_: Request) -> Response:
        try:
            content = folder.read(REPORT)
        except MissingKeyError:
            return Response(body=NO_REPORT.encode())
        if is_installed():
            content = content.replace(b"<main>", b"<main>" + LINK.encode(), 1)
        return Response(body=content)

    return {("GET", ""): page}


def optuna_of(folder: Store) -> WSGIApplication | None:
    """Return optuna-dashboard, made when it is first asked for; None if it is not installed."""
    if not is_installed():
        return None
    app = cache(lambda: optuna_dashboard(folder))
    return lambda environ, start_response: app()(environ, start_response)
