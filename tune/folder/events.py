"""What happened to a study, kept in its folder for its report and its dashboard.

events.jsonl      one JSON object a line, the fields of `tune.events.Event`; the newest ones
sessions.json     when each process that ran the study began, on which host, and how long it ran
"""

import json
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from daam.documents import Count, Finite, parse_json
from daam.errors import StorageError
from daam.storage import OUTAGES, MissingKeyError, Store
from tune.events import STORE, TRAINS_ON, Event, now_with_zone

EVENTS, SESSIONS = "events.jsonl", "sessions.json"
MAX_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as it is stored."""

    began: str
    host: str
    pid: Count
    seconds: Annotated[Finite, Field(ge=0)]


EVENT, SESSION_ROWS = TypeAdapter(Event), TypeAdapter(list[SessionRow])

logger = logging.getLogger(__name__)


class EventLog:
    """Adds events to a study's folder.

    The file is written whole, since an object in a bucket cannot be appended to. Any thread may add
    an event; it is in the folder after the next `publish`.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Store) -> None:
        self._folder = folder
        self._lines = _lines_of(folder)
        self._lock = threading.Lock()
        self._is_published = True

    def add(self, event: Event) -> None:
        """Keep an event, in place of the oldest ones if the file gets too large."""
        with self._lock:
            self._lines.append(json.dumps(_fields_of(event)).encode() + b"\n")
            self._is_published = False
            excess = sum(map(len, self._lines)) - MAX_BYTES
            while excess > 0:
                excess -= len(self._lines.pop(0))

    def all(self) -> list[dict[str, Any]]:
        """Return the events, oldest first."""
        with self._lock:
            return _parsed(self._lines, where=self._folder.locate(EVENTS))

    @property
    def has_news(self) -> bool:
        """Whether the folder lacks an event."""
        return not self._is_published

    def publish(self) -> None:
        """Write the file if there is anything new, readable for its owner alone.

        A folder that cannot be written to fails nothing: the next time writes all events.
        """
        with self._lock:
            if self._is_published:
                return
            content, self._is_published = b"".join(self._lines), True
        try:
            self._folder.write(EVENTS, content)
        except StorageError as error:
            self._is_published = False
            logger.warning("the events are not up to date: %s", error)
            return
        if (path := self._folder.local_path(EVENTS)) is not None:
            with suppress(FileNotFoundError):
                path.chmod(0o600)


def read_events(folder: Store) -> list[dict[str, Any]]:
    """Return the events of a study, oldest first; a damaged line is left out."""
    return _parsed(_lines_of(folder), where=folder.locate(EVENTS))


def _parsed(lines: Sequence[bytes], *, where: str) -> list[dict[str, Any]]:
    events = []
    for line in lines:
        try:
            events.append(_fields_of(parse_json(line, EVENT)))
        except ValueError:
            logger.warning("a line of %s is damaged and left out", where)
    return events


def _fields_of(event: Event) -> dict[str, Any]:
    """What is stored of an event: no field that says nothing, but for its text."""
    fields = asdict(event).items()
    return {name: value for name, value in fields if name == "text" or value not in ("", None)}


def _lines_of(folder: Store) -> list[bytes]:
    try:
        return folder.read_document(EVENTS).splitlines(keepends=True)
    except MissingKeyError:
        return []


class _AsEvents(logging.Handler):
    def __init__(self, receive: Callable[[Event], None]) -> None:
        super().__init__()
        self._receive = receive

    def emit(self, record: logging.LogRecord) -> None:
        self._receive(Event(kind=STORE, text=record.getMessage()))


@contextmanager
def outages_as_events(receive: Callable[[Event], None]) -> Iterator[None]:
    """Turn what this process's stores log of their outages into events, in any thread."""
    outages, handler = logging.getLogger(OUTAGES), _AsEvents(receive)
    outages.addHandler(handler)
    outages.propagate = False
    try:
        yield
    finally:
        outages.propagate = True
        outages.removeHandler(handler)


class Session:
    """The time that a process runs a study, beside that of the processes before it.

    Args:
        folder: of the study.
        clock: in seconds.
    """

    def __init__(self, folder: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._began_at = clock()
        self._earlier = read_sessions(folder)
        self._began = {"began": now_with_zone(), "host": socket.gethostname(), "pid": os.getpid()}

    def store(self) -> None:
        """Write all sessions; a process that is killed forgets what has passed since.

        Raises:
            StorageError: the folder cannot be written to.
        """
        own = {**self._began, "seconds": round(self._clock() - self._began_at, 3)}
        self._folder.write(SESSIONS, json.dumps([*self._earlier, own], indent=1).encode())


def read_sessions(folder: Store) -> list[dict[str, Any]]:
    """Return the sessions of a study so far."""
    try:
        return [asdict(row) for row in parse_json(folder.read_document(SESSIONS), SESSION_ROWS)]
    except MissingKeyError:
        return []
    except ValueError:
        logger.warning(
            "%s is damaged: the time of earlier sessions is lost", folder.locate(SESSIONS)
        )
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How a study came about, as in `study.json`.

    Attributes:
        sessions: the processes that ran it, see `Session`.
        restarts: how often each run was restarted; those that never were are left out.
        hosts: the addresses of those that each run has trained on, in order.
    """

    sessions: Sequence[Mapping[str, Any]] = ()
    restarts: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long all sessions took together."""
        return sum(session["seconds"] for session in self.sessions)


NO_HISTORY = History()


def history_of(folder: Store) -> History:
    """Read the history of a study from its folder."""
    restarts: Counter[str] = Counter()
    hosts: dict[str, dict[str, None]] = {}
    for event in read_events(folder):
        if "restart" in event:
            restarts[event["run"]] += 1
        if event["kind"] == TRAINS_ON:
            addresses = event.get("host", "").split(",")
            hosts.setdefault(event["run"], {}).update(dict.fromkeys(addresses))
    return History(
        sessions=read_sessions(folder),
        restarts=dict(restarts),
        hosts={run: [*addresses] for run, addresses in hosts.items()},
    )
