"""The published journal of a study, for its report and dashboard, which only read it."""

import time
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial

from daam.documents import MalformedError
from daam.errors import StudyError
from daam.storage import MissingKeyError, Store
from tune.folder.journal_file import JOURNAL, parse_entries


class PublishedJournal(BaseJournalBackend):
    """Reads the journal in a study's folder, local or on S3; parses only what is new.

    It refuses writes: the study's driver appends to a journal of its own and replaces the one in
    the folder, so a change made here would be lost.

    Args:
        folder: of the study.
        reread_after_s: the file is not read again within this time.
    """

    def __init__(self, folder: Store, *, reread_after_s: float = 0.0) -> None:
        self.folder = folder
        self.reread_after_s = reread_after_s
        self.logs: list[dict[str, Any]] = []
        self.reread_at = 0.0

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the entries from a number on.

        Raises:
            StudyError: the journal is damaged.
        """
        if time.monotonic() >= self.reread_at:
            whole_lines, _, _ = self.folder.read_document(JOURNAL).rpartition(b"\n")
            lines = whole_lines.splitlines()[len(self.logs) :]
            try:
                self.logs += parse_entries(b"\n".join(lines))
            except MalformedError as error:
                raise StudyError(f"{self.folder.locate(JOURNAL)} is damaged: {error}") from error
            self.reread_at = time.monotonic() + self.reread_after_s
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse.

        Raises:
            StudyError: always.
        """
        raise StudyError(f"{self.folder.locate(JOURNAL)} is shown read-only; nothing was changed")


class PublishedTrials:
    """The trials of a study as its folder has them.

    Args:
        folder: of the study.
        name: of the study.
    """

    def __init__(self, folder: Store, *, name: str) -> None:
        self.folder = folder
        self.name = name
        self.study: optuna.Study | None = None

    def read(self) -> list[FrozenTrial]:
        """Return them as they are now; none before the first has started."""
        try:
            if self.study is None:
                storage = JournalStorage(PublishedJournal(self.folder))
                self.study = optuna.load_study(study_name=self.name, storage=storage)
            return self.study.get_trials(deepcopy=False)
        except MissingKeyError:
            return []
