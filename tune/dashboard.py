"""optuna-dashboard over a study's journal: read-only, on S3 as on a disk, also while it runs."""

from importlib.util import find_spec
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import JournalStorage

from daam.errors import ConfigError, StudyError
from daam.storage import Store
from tune.folder.folder import JOURNAL
from tune.folder.journal import PublishedJournal

LOOPBACK = "127.0.0.1"
REREAD_AFTER_S = 2.0


def dashboard_server(folder: Store, *, port: int) -> WSGIServer:
    """Return a server of optuna-dashboard on loopback, bound to its port but not yet serving.

    Args:
        folder: of a study.
        port: 0 for a free one.

    Raises:
        StudyError: no trial has started yet, or the port cannot be used.
    """
    from optuna_dashboard import wsgi

    if not folder.exists(JOURNAL):
        raise StudyError(f"no trial of {folder.uri} has started yet; try again once one has")
    app = wsgi(JournalStorage(PublishedJournal(folder, reread_after_s=REREAD_AFTER_S)))
    try:
        return make_server(
            LOOPBACK, port, app, server_class=ThreadingServer, handler_class=QuietHandler
        )
    except OSError as error:
        raise StudyError(
            f"port {port} cannot be used ({error.strerror}); name another: --port"
        ) from error


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread: a browser opens some that it never uses."""

    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    """Logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing."""


def require_dashboard() -> None:
    """Check that optuna-dashboard is installed.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("optuna_dashboard") is None:
        raise ConfigError(
            "optuna-dashboard is not installed; install it with: pip install optuna-dashboard"
        )
