"""Events of a study: a line for people, fields for programs."""

from dataclasses import dataclass, field
from datetime import datetime

TRAINS_ON, HOST_JOINED, HOST_LOST = "trains_on", "host_joined", "host_lost"
PROCESS_KILLED, OUT_OF_MEMORY, ERROR = "process_killed", "out_of_memory", "error"
STORE, DRIVER = "store", "driver"
FAILURE = "failure"
"""The metric of a failed run, and the attribute of its Optuna trial, with the reason."""


def now_with_zone() -> str:
    """Return the time in ISO 8601, to the second, with its zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a study, other than the epochs and ends of its runs.

    Attributes:
        kind: `trains_on`, `host_joined`, `host_lost`, `process_killed`, `out_of_memory`, `error`,
            `store` or `driver`.
        text: the line to show.
        run: the trial, repeat or contender that it happened to; empty if it was none.
        host: the addresses of the hosts concerned, separated by commas; empty if there is none.
        restart: how often the run has been restarted, this time included; None if it was not.
        epoch: the last one whose checkpoint is stored; None if no run is concerned.
        time: in ISO 8601, with its zone.
    """

    kind: str
    text: str
    run: str = ""
    host: str = ""
    restart: int | None = None
    epoch: int | None = None
    time: str = field(default_factory=now_with_zone)

    def __post_init__(self) -> None:
        if not (self.kind and self.time):
            raise ValueError("an event has a kind and a time")
        if not self.run and (self.kind == TRAINS_ON or self.restart is not None):
            raise ValueError("what is trained or restarted is a run")

    @property
    def is_news(self) -> bool:
        """Whether it belongs into the progress of a study."""
        return self.kind not in (TRAINS_ON, DRIVER)
