"""optuna-dashboard over a study's journal: read-only, on S3 as on a disk, also while it runs."""

from importlib.util import find_spec
from wsgiref.types import WSGIApplication

from optuna.storages import JournalStorage

from daam.errors import StudyError
from daam.storage import Store
from tune.folder.journal import PublishedJournal
from tune.folder.journal_file import read_journal

REREAD_AFTER_S = 2.0


def is_installed() -> bool:
    """Whether optuna-dashboard is."""
    return find_spec("optuna_dashboard") is not None


def optuna_dashboard(folder: Store) -> WSGIApplication:
    """Return optuna-dashboard for a study; it must be installed.

    Args:
        folder: of the study.

    Raises:
        StudyError: no trial has started yet, or the journal is damaged.
    """
    from optuna_dashboard import wsgi

    if not read_journal(folder):
        raise StudyError(f"no trial of {folder.uri} has started yet; try again once one has")
    return wsgi(JournalStorage(PublishedJournal(folder, reread_after_s=REREAD_AFTER_S)))
