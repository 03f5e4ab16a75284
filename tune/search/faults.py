"""What disturbs the runs of a study, and the line that says so."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.experiment import Trial

from daam.errors import DaamError
from daam.runs.ranks import RankLostError
from tune.events import ERROR, HOST_LOST, OUT_OF_MEMORY, PROCESS_KILLED, Event

HOSTS = "hosts"
"""The metric with the addresses of the hosts that a run trains on, separated by commas."""
ATTEMPT = "attempt"
"""The metric that is another one after every start of a run's processes."""

HOSTS_ASKED_EVERY_S = 3.0


class Hosts:
    """The hosts of the cluster that are alive, by their addresses.

    `ray.cluster_resources` still counts a dead host for a while; `ray.nodes` does not.

    Args:
        nodes: asks Ray.
        clock: in seconds.
    """

    def __init__(
        self,
        *,
        nodes: Callable[[], Sequence[dict[str, Any]]] = lambda: ray.nodes(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._clock = clock
        self._asked_at = -HOSTS_ASKED_EVERY_S
        self._alive: list[dict[str, Any]] = []

    def alive(self, *, now: bool = False) -> set[str]:
        """Return their addresses, a few seconds old unless they are wanted as of now."""
        return {node["NodeManagerAddress"] for node in self._known(now=now)}

    def total(self, resource: str) -> float:
        """Return how much of a resource they have together, in use or not."""
        return sum(node["Resources"].get(resource, 0.0) for node in self._known(now=False))

    def num_groups(self, kinds: Sequence[str], *, size: int) -> int:
        """Return how many groups of workers, each on one host, the hosts have room for.

        Args:
            kinds: the resources of which each worker needs one.
            size: of a group.
        """
        return sum(
            min(int(node["Resources"].get(kind, 0) // size) for kind in kinds)
            for node in self._known(now=False)
        )

    def _known(self, *, now: bool) -> list[dict[str, Any]]:
        if now or self._clock() - self._asked_at >= HOSTS_ASKED_EVERY_S:
            self._alive = [node for node in self._nodes() if node["Alive"]]
            self._asked_at = self._clock()
        return self._alive


def last_error(trial: Trial) -> Exception | None:
    """Return the error that a Ray trial met last; None if it met none.

    `get_pickled_error` alone reads it from the storage, which has it only later.
    """
    path = trial.pickled_error_file
    if path is None or not Path(path).exists():
        return trial.get_pickled_error()
    return cloudpickle.loads(Path(path).read_bytes())


def cause_of_death(error: Exception) -> tuple[str, str] | None:
    """Return the kind and the words for a process that was lost; None if it raised the error."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    text = str(cause)
    if isinstance(cause, NodeDiedError) or "node has died" in text:
        return HOST_LOST, "its host was lost"
    if isinstance(cause, OutOfMemoryError) or "memory pressure" in text:
        return OUT_OF_MEMORY, "Ray ended its process, since its host is short of memory"
    if isinstance(cause, RankLostError):
        return PROCESS_KILLED, f"{cause} (out of memory?)"
    if isinstance(cause, RayActorError):
        return PROCESS_KILLED, "its process was killed (out of memory?)"
    return None


def reason_of(error: Exception) -> str:
    """Return what an error says, in one line and without a stack trace."""
    if (death := cause_of_death(error)) is not None:
        return death[1]
    cause = error.cause if isinstance(error, RayTaskError) else error
    text = " ".join(str(cause).split())
    return text if isinstance(cause, DaamError) else f"{type(cause).__name__}: {text}"


def restarted(
    run: str,
    *,
    error: Exception | None,
    host: str,
    alive: set[str],
    restart: int,
    max_restarts: int,
    epoch: int,
) -> Event:
    """Return the event of a run that is restarted.

    Args:
        run: its name.
        error: what Ray says of it; None if workers of a group died, which only the group saw.
        host: the addresses of the hosts that it trained on; empty if unknown.
        alive: the addresses of the hosts that are left.
        restart: which one it is, from 1.
        max_restarts: how many there may be.
        epoch: the last one that it has stored; 0 if there is none.
    """
    lost = [address for address in host.split(",") if address and address not in alive]
    death = None if error is None else cause_of_death(error)
    if lost or (death is not None and death[0] == HOST_LOST and host):
        host = ",".join(lost) or host
        kind, cause = HOST_LOST, f"host {host} lost"
    elif death is not None:
        kind, cause = death
    elif error is not None:
        kind, cause = ERROR, reason_of(error)
    else:
        kind, cause = PROCESS_KILLED, "one of its workers died"
    then = f"continues from epoch {epoch}" if epoch else "begins again"
    return Event(
        kind=kind,
        text=f"{run}: {cause}, restart {restart} of {max_restarts}, {then}",
        run=run,
        host=host,
        restart=restart,
        epoch=epoch,
    )
