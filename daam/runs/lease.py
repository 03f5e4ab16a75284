"""One driver for a study or a run: a second one is refused, or takes over from a dead one.

In a folder the kernel keeps a lock, which ends with its process. In an object store the driver has
a turn (see `daam.runs.fences`) that it renews: one that is not renewed for a while can be taken
over, and the driver that it was taken from stops at its next write.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from pydantic import TypeAdapter

from daam.documents import MalformedError, parse_json
from daam.errors import DriverError, StorageError
from daam.runs.fences import Owner, Turn, content_of, number_of
from daam.storage import Store
from daam.storage.private import PRIVATE_FILE

PROBE = "probe"
RENEWED_EVERY_S = 5.0
DEAD_AFTER_S = 20.0
POLL_S = 0.5
MAX_LOCK_CHARACTERS = 4096
RELEASE = TypeAdapter(dict[str, Any])

log = logging.getLogger(__name__)


@contextmanager
def sole_driver(store: Store, *, lock: str, what: str) -> Iterator[Store]:
    """Keep other drivers off a folder; yields the folder, which only this driver can change.

    Args:
        store: the folder.
        lock: name of the lock file; in an object store prefix of the keys of its turns.
        what: the folder's content, in words: "the study".

    Raises:
        DriverError: another process drives it.
        StorageError: it cannot be written to.
    """
    store.write(PROBE, b"")
    store.delete(PROBE)
    path = store.local_path(lock)
    if path is None:
        with _leased(store, prefix=lock, what=what) as fenced:
            yield fenced
    else:
        with _locked(path, uri=store.uri, what=what):
            store.remove_unfinished()
            yield store


@contextmanager
def _locked(path: Path, *, uri: str, what: str) -> Iterator[None]:
    with _locked_file(path, uri=uri, what=what) as file:
        file.truncate(0)
        file.write(json.dumps(asdict(Owner.this_process())))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is locked


def _locked_file(path: Path, *, uri: str, what: str) -> TextIO:
    while True:
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            file = os.fdopen(os.open(path, flags, PRIVATE_FILE), "a+")
        except IsADirectoryError as error:
            raise StorageError(
                f"cannot write {path}: it is a folder, as in a copy of a bucket; delete it"
            ) from error
        except OSError as error:
            raise StorageError(
                f"cannot write {path}: {error.strerror}; is it another user's {what.split()[-1]}?"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                return file
        except BlockingIOError as error:
            file.seek(0)
            owner = Owner.read(file.read(MAX_LOCK_CHARACTERS).encode())
            file.close()
            raise _refused(owner, uri=uri, what=what) from error
        file.close()  # the process that held the lock has removed the file: there is a new one


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextmanager
def _leased(store: Store, *, prefix: str, what: str) -> Iterator[Store]:
    turn = Turn(store, prefix=prefix, what=what)
    last = turn.highest()
    if last:
        _wait_until_dead(store, last, what=what)
    if not turn.take(after=last, owner=Owner.this_process()):
        owner = Owner.read(content_of(store, turn.highest()))
        raise _refused(owner, uri=store.uri, what=what)
    for key in store.list(f"{prefix}/"):
        if number_of(key) < number_of(turn.key):
            store.delete(key)
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(turn, stop), daemon=True)
    renewing.start()
    try:
        yield turn.fenced()
    finally:
        stop.set()
        renewing.join(timeout=RENEWED_EVERY_S)
        _release(turn)


def _renew(turn: Turn, stop: threading.Event) -> None:
    num_renewed = 0
    while not stop.wait(RENEWED_EVERY_S):
        num_renewed += 1
        try:
            turn.ensure_held()
            content = json.dumps({**asdict(turn.owner), "num_renewed": num_renewed})
            turn.store.write(turn.key, content.encode())
        except StorageError as error:  # a FencedError at the next write too, which ends the driver
            log.debug("the lease is not renewed: %s", error)


def _release(turn: Turn) -> None:
    """Mark this turn as released, so that the next driver does not wait for it to expire."""
    try:
        turn.ensure_held()
        turn.store.write(turn.key, json.dumps({**asdict(turn.owner), "released": True}).encode())
    except StorageError as error:
        log.debug("the lease is not released: %s", error)


def _wait_until_dead(store: Store, key: str, *, what: str) -> None:
    """Return once the holder of a turn has released it, has ended, or does not renew it.

    No clocks are compared: the content has to change while this process looks.

    Raises:
        DriverError: the holder is alive.
    """
    first = content_of(store, key)
    owner = Owner.read(first)
    if is_released(first) or owner.is_dead():
        return
    log.warning("%s is driven by %s; waiting %.0f s for a sign of it", what, owner, DEAD_AFTER_S)
    deadline = time.monotonic() + DEAD_AFTER_S
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        content = content_of(store, key)
        if is_released(content):
            return
        if content != first:
            raise _refused(owner, uri=store.uri, what=what)


def is_released(content: bytes) -> bool:
    """Whether the content of a turn marks it as released by its holder."""
    try:
        return parse_json(content, RELEASE).get("released") is True
    except MalformedError:
        return not content


def _refused(owner: Owner, *, uri: str, what: str) -> DriverError:
    return DriverError(
        f"another process is running {what} in {uri} ({owner}); wait for it, or stop it first"
    )
