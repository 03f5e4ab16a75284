"""Claims on work that one process does while others wait for it.

Claims save work and guarantee nothing: if two processes hold one at the same time, both do the work
and store the same result.
"""

import fcntl
import json
import logging
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Protocol

from daam.errors import StorageError
from daam.storage import MissingKeyError, Store
from daam.storage.private import PRIVATE_FILE

LOCK = "stage.lock"
CLAIM = "claim.json"
BEAT_S = 10.0
"""How often the holder of a claim in an object store shows that it is alive."""
DEAD_AFTER_S = 60.0

log = logging.getLogger(__name__)


class Claim(Protocol):
    """The right to do some work, which ends with the process."""

    def acquire(self) -> bool:
        """Return whether the claim is held now; without waiting."""
        ...

    def release(self) -> None:
        """Release it, if it is held."""
        ...


def claim_on(store: Store) -> Claim:
    """Return the claim on the work whose result a store is for."""
    path = store.local_path(LOCK)
    return StoredClaim(store) if path is None else LockedFile(path)


class LockedFile:
    """A lock on a local file, which the kernel releases when its process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Return whether the lock is held now.

        Raises:
            StorageError: the folder cannot be written.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE)
        except OSError as error:
            raise StorageError(
                f"cannot write {self._path}: {error.strerror}; check that you may write there"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:  # a file system without locks
            os.close(descriptor)
            log.warning("%s cannot be locked (%s): others may repeat this work", self._path, error)
            return True
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._descriptor is not None:
            # Closing alone would leave it held by a child forked meanwhile.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


class StoredClaim:
    """An object that its holder rewrites every few seconds; unchanged for long, it is abandoned.

    Object stores have no locks, and not all that speak S3 can create an object only if there is
    none. Two processes that claim in the same moment may therefore both succeed. No clocks are
    compared: each process measures for itself how long the object has not changed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holder = secrets.token_hex(8)
        self._beats = 0
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None
        self._seen: tuple[bytes | None, float] = (None, 0.0)

    def acquire(self) -> bool:
        """Return whether the claim is held now.

        Raises:
            StorageError: the store cannot be reached or refuses.
        """
        found = self._read()
        if found is not None:
            if found != self._seen[0]:
                self._seen = (found, time.monotonic())
            if time.monotonic() - self._seen[1] < DEAD_AFTER_S:
                return False
        self._write()
        if not self._is_own(self._read()):
            return False
        self._stop.clear()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()
        return True

    def release(self) -> None:
        """Delete the object, if it is held."""
        if self._beating is None:
            return
        self._stop.set()
        self._beating.join()  # a beat under way would create the object again
        self._beating = None
        try:
            if self._is_own(self._read()):
                self._store.delete(CLAIM)
        except StorageError as error:
            log.warning("others will wait for another %.0f s: %s", DEAD_AFTER_S, error)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                if not self._is_own(self._read()):
                    return  # it was thought dead, and another has it now
                self._write()
            except StorageError as error:
                log.warning("others may repeat this work: %s", error)

    def _read(self) -> bytes | None:
        try:
            return self._store.read(CLAIM)
        except MissingKeyError:
            return None

    def _write(self) -> None:
        self._beats += 1
        self._store.write(
            CLAIM, json.dumps({"holder": self._holder, "beats": self._beats}).encode()
        )

    def _is_own(self, content: bytes | None) -> bool:
        return content is not None and self._holder.encode() in content
