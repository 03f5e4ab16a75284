"""The journal of a study in its folder: checked when it is read, sealed when it is replaced.

journal.log           Optuna's journal
journal.seal.json     how long it was when it was last published, and the SHA-256 of that part
journal.before.log    the one before, to go on from if the journal is damaged

A published journal only grows, and its seal is written after it. So a journal that begins with the
sealed part is whole, although its process may have died before it wrote the new seal. A journal
that does not has been cut or changed: Optuna would take it for a smaller study.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import TrialState
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from daam.documents import (
    MAX_INT,
    Count,
    Finite,
    MalformedError,
    Sha256,
    Share,
    first_problem,
    parse_json,
)
from daam.errors import FencedError, StudyError
from daam.storage import MissingKeyError, Store
from tune.budget import SPENT
from tune.events import FAILURE

logger = logging.getLogger(__name__)

JOURNAL, SEAL, BEFORE = "journal.log", "journal.seal.json", "journal.before.log"
SETTINGS = "settings"
"""The attribute of an Optuna study that holds the settings its trials were run with."""
SCORES = "scores"
"""The attribute of a trial that holds its last score on each transfer."""
RUNG = "completed_rung_"
RESTORE = "restore it from a backup, or start a new study: --name NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What is known of a journal: its length once, and the SHA-256 of that many bytes of it."""

    size_bytes: Count
    sha256: Sha256


class Strict(BaseModel):
    """A part of a journal; it may have more entries."""

    model_config = ConfigDict(strict=True, extra="allow", arbitrary_types_allowed=True)


class Entry(Strict):
    """A line of a journal: an operation of Optuna, whose other fields depend on it."""

    op_code: Annotated[int, Field(ge=0, le=10)]
    worker_id: str


class Spent(Strict):
    """What the search has cost, as `tune.budget.Cost` has it."""

    seconds: Annotated[Finite, Field(ge=0)] = 0.0
    gpu_seconds: Annotated[Finite, Field(ge=0)] = 0.0


class StudyAttributes(Strict):
    """What a study keeps beside its trials."""

    settings: str = Field(default="", alias=SETTINGS)
    spent: Spent = Field(default=Spent(), alias=SPENT)


class TrialAttributes(Strict):
    """What a trial keeps beside its parameters."""

    scores: dict[str, Share] = Field(default={}, alias=SCORES)
    failure: str | None = Field(default=None, alias=FAILURE)


class SystemAttributes(Strict):
    """What Optuna keeps of a trial; what is not named here are numbers of its pruner."""

    __pydantic_extra__: dict[str, Any] = Field(init=False)  # pyright: ignore

    fixed_params: dict[str, bool | Finite | Annotated[int, Field(le=MAX_INT)] | str | None] = {}

    @model_validator(mode="after")
    def _check_rungs(self) -> Self:
        for name, value in self.__pydantic_extra__.items():
            if name.startswith(RUNG) and type(value) is not float:
                raise ValueError(f"{name} is no number")
        return self


class Trial(Strict):
    """A trial of a study that is scored from 0 to 1, perhaps beside its seconds."""

    state: TrialState
    values: list[Finite] | None
    intermediate_values: dict[Count, float]
    user_attrs: TrialAttributes
    system_attrs: SystemAttributes

    @model_validator(mode="after")
    def _check_scores(self) -> Self:
        if self.state == TrialState.COMPLETE and not (self.values and self.user_attrs.scores):
            raise ValueError("it is complete and has no score")
        scores = [*self.intermediate_values.values(), *(self.values or [])[:1]]
        if any(not 0 <= score <= 1 and score == score for score in scores):  # NaN: not scored
            raise ValueError("a score is not between 0 and 1")
        return self


SEALED, ENTRY = TypeAdapter(Seal), TypeAdapter(Entry)


def read_journal(folder: Store) -> bytes:
    """Return the journal of a study without a last line that was cut; empty if there is none.

    Optuna would append to such a line, and then could not read either of the two.

    Raises:
        StudyError: it is not the one that was published, or a line of it is damaged.
    """
    where = folder.locate(JOURNAL)
    seal = _read_seal(folder)  # first: the journal may grow meanwhile
    try:
        content = folder.read_document(JOURNAL)
    except MissingKeyError:
        content = b""
    if seal is not None and _digest(content[: seal.size_bytes]) != seal.sha256:
        what = (
            f"has {len(content):,} bytes and had {seal.size_bytes:,}"
            if len(content) < seal.size_bytes
            else "is not what was written there"
        )
        raise StudyError(f"{where} {what}; {_how_to_restore(folder)}")
    *lines, cut = content.split(b"\n")
    if cut:
        logger.warning(
            "%s ends within a line, which is ignored: what it recorded is done again", where
        )
    whole = b"".join(line + b"\n" for line in lines)
    try:
        check_study(parse_entries(whole))
    except MalformedError as error:
        raise StudyError(f"{where} is damaged: {error}; {_how_to_restore(folder)}") from error
    return whole


def parse_entries(content: bytes) -> list[dict[str, Any]]:
    """Return the entries of a journal.

    Raises:
        MalformedError: one is not Optuna's.
    """
    entries = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            entries.append(parse_json(line, ENTRY).model_dump())
        except MalformedError as error:
            raise MalformedError(f"line {number}: {error}") from error
    return entries


def check_study(entries: list[dict[str, Any]]) -> None:
    """Check that the entries of a journal are one study, whose trials have possible results.

    Raises:
        MalformedError: they are not.
    """
    if not entries:
        return
    try:
        storage = JournalStorage(Entries(entries))
        studies = storage.get_all_studies()
        trials = [trial for study in studies for trial in storage.get_all_trials(study._study_id)]
    except Exception as error:  # Optuna's own reader ends in any way
        raise MalformedError(f"Optuna cannot read it ({type(error).__name__})") from error
    if len(studies) != 1:
        raise MalformedError(f"it holds {len(studies)} studies, not one")
    try:
        StudyAttributes.model_validate(studies[0].user_attrs)
    except ValidationError as error:
        raise MalformedError(f"the study's {first_problem(error)}") from error
    for trial in trials:
        try:
            Trial.model_validate({name: getattr(trial, name) for name in Trial.model_fields})
        except ValidationError as error:
            raise MalformedError(f"trial {trial.number}: {first_problem(error)}") from error


class Entries(BaseJournalBackend):
    """Entries of a journal that nobody adds to.

    Args:
        entries: of the journal.
    """

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._entries = entries

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the entries from a number on."""
        return self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse.

        Raises:
            AssertionError: always.
        """
        raise AssertionError("these entries are only read")


class JournalPublisher:
    """Replaces the journal in a study's folder by longer ones.

    Args:
        folder: of the study.
        content: what `read_journal` returned.
    """

    def __init__(self, folder: Store, content: bytes) -> None:
        self._folder = folder
        self._before = content
        self._published_bytes = journal_bytes(folder)

    def publish(self, content: bytes) -> None:
        """Replace the journal, and keep the one before.

        Raises:
            FencedError: another process has made it longer meanwhile.
            StorageError: the folder cannot be written to.
        """
        if journal_bytes(self._folder) > self._published_bytes:
            raise FencedError(
                f"{self._folder.locate(JOURNAL)} has grown meanwhile: another process is running "
                "the study; this one has stopped, and writes nothing more there"
            )
        if self._before and self._before != content:
            self._folder.write(BEFORE, self._before)
        self._folder.write(JOURNAL, content)
        self._before, self._published_bytes = content, len(content)
        _write_seal(self._folder, content)


def replace_journal(folder: Store, content: bytes) -> None:
    """Replace the journal by one that does not begin like it; the caller has kept that one.

    A process that dies meanwhile leaves either of them, without a seal.
    """
    folder.delete(SEAL)
    folder.write(JOURNAL, content)
    _write_seal(folder, content)


def journal_bytes(folder: Store) -> int:
    """Return the size of the journal in a folder; 0 if there is none."""
    try:
        return folder.size(JOURNAL)
    except MissingKeyError:
        return 0


def _read_seal(folder: Store) -> Seal | None:
    try:
        return parse_json(folder.read_document(SEAL), SEALED)
    except MissingKeyError:
        return None
    except MalformedError as error:
        raise StudyError(
            f"{folder.locate(SEAL)} is damaged: {error}; delete it if you trust {JOURNAL}"
        ) from error


def _write_seal(folder: Store, content: bytes) -> None:
    seal = Seal(size_bytes=len(content), sha256=_digest(content))
    folder.write(SEAL, json.dumps(asdict(seal), indent=1).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _how_to_restore(folder: Store) -> str:
    if not folder.exists(BEFORE):
        return RESTORE
    return (
        f"restore it from a backup, or go on from the one before it: replace it by {BEFORE}, and "
        f"delete {SEAL}"
    )
