"""Numbered turns at changing a folder: a later turn ends all earlier ones.

A turn is an object whose key ends in its number; its content names its owner. A process may change
the folder while no higher number exists, which it checks before every change. So one that was
stopped or cut off, and replaced meanwhile, changes nothing once it continues. What is left is the
time of the one request that was under way when it was cut off.

Turns are taken by creating the next object if nobody else has. Servers without that (If-None-Match)
are recognised by trying. There a process reads its object back after a second, and only the last
of two that took the same turn goes on. That is weaker.
"""

import json
import logging
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field, TypeAdapter

from daam.documents import Count, MalformedError, parse_json
from daam.errors import FencedError
from daam.storage import MissingKeyError, Store
from daam.storage.fenced import FencedStore

READ_BACK_AFTER_S = 1.0
MAX_PID = 2**22  # Linux allows no more

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that has a turn.

    Attributes:
        host: its name.
        pid: of the process.
        machine: a number of the host's last start and of the process ids that it counts in.
        since: when its turn began, in ISO 8601.
        token: no other turn has it.
        epoch: the last one that was stored when a run's turn began; None for a driver.
        num_workers: that train a run in this turn; None for a driver.
    """

    host: str
    pid: Annotated[int, Field(ge=0, le=MAX_PID)]
    machine: str
    since: str
    token: str
    epoch: Count | None = None
    num_workers: Count | None = None

    @classmethod
    def this_process(cls, *, epoch: int | None = None, num_workers: int | None = None) -> "Owner":
        """Return this process, for a turn that begins now."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=this_machine(),
            since=datetime.now().astimezone().isoformat(timespec="seconds"),
            token=secrets.token_hex(8),
            epoch=epoch,
            num_workers=num_workers,
        )

    @classmethod
    def read(cls, content: bytes) -> "Owner":
        """Return the owner that an object names; an unknown one if it is damaged."""
        try:
            return parse_json(content, OWNER)
        except MalformedError:
            return cls(host="an unknown host", pid=0, machine="", since="?", token="")

    def is_dead(self) -> bool:
        """Whether it ran on this machine and has ended; False if that cannot be known."""
        if self.machine != this_machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


OWNER = TypeAdapter(Owner)


def this_machine() -> str:
    """Return what tells this machine, and the process ids seen from here, from all others."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        return f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def number_of(key: str) -> int:
    """Return the number of a turn; 0 for an empty key."""
    number = key.rpartition("/")[2].partition(".")[0]
    return int(number) if number.isdecimal() else 0


def content_of(store: Store, key: str) -> bytes:
    """Return the content of a turn's object; empty if there is none."""
    try:
        return store.read(key) if key else b""
    except MissingKeyError:
        return b""


class Turn:
    """The right of a process to change a folder, until another process takes the next one.

    Args:
        store: the folder.
        prefix: of the keys of its turns.
        what: the folder's content, in words: "the study".
    """

    def __init__(self, store: Store, *, prefix: str, what: str) -> None:
        self.store = store
        self.prefix = prefix
        self.what = what
        self.key = ""
        self.owner = Owner.this_process()
        self.is_atomic = True
        self._lost: FencedError | None = None

    def highest(self) -> str:
        """Return the key of the last turn that was taken; empty if there is none."""
        return max(self.store.list(f"{self.prefix}/"), key=number_of, default="")

    def take(self, *, after: str, owner: Owner) -> bool:
        """Take the turn that follows another; return False if another process was faster.

        Raises:
            StorageError: the store cannot be reached or refuses.
        """
        key = f"{self.prefix}/{number_of(after) + 1:04d}.json"
        content = json.dumps(asdict(owner)).encode()
        if not self.store.create(key, content) and not self._holds(key, owner):
            return False
        self.is_atomic = not self.store.create(key, content)
        if not self.is_atomic:
            log.info(
                "%s replaces objects that exist: of two processes that begin in the same second, "
                "the one that finds its own object goes on, which is weaker than atomic creation",
                self.store.uri,
            )
            time.sleep(READ_BACK_AFTER_S)
            if not self._holds(key, owner):
                return False
        self.key, self.owner = key, owner
        return True

    def ensure_held(self) -> None:
        """Return if no other process has taken a later turn.

        Raises:
            FencedError: one has.
            StorageError: the store cannot be reached or refuses.
        """
        if self._lost is None:
            highest = self.highest()
            # Without atomic creation, another process may have replaced this one's own object.
            if highest == self.key and (self.is_atomic or self._holds(highest, self.owner)):
                return
            self._lost = FencedError(
                f"{self._owner_of(highest)} has taken over {self.what} in {self.store.uri}; this "
                "process has stopped, and writes nothing more there"
            )
        raise self._lost

    def fenced(self) -> FencedStore:
        """Return the folder, which can be changed during this turn alone."""
        return FencedStore(self.store, ensure_allowed=self.ensure_held)

    def _owner_of(self, key: str) -> Owner:
        return Owner.read(content_of(self.store, key))

    def _holds(self, key: str, owner: Owner) -> bool:
        return self._owner_of(key).token == owner.token
