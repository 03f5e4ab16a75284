"""Progress events of a running study."""

from dataclasses import dataclass
from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial

from daam.runs.run_folder import REPEATS
from daam.runs.worker import REPORTED_BEFORE
from tune.events import FAILURE, HOST_JOINED, HOST_LOST, TRAINS_ON, Event
from tune.search.faults import ATTEMPT, HOSTS, Hosts, last_error, restarted
from tune.search.launching import EPOCH, LAST_EPOCH, SCORE, NotSaved


class StudyWatch(Protocol):
    """Receives the progress of a study. All calls come from one thread, but those of `event`."""

    def phase(
        self,
        title: str,
        *,
        num_runs: int,
        num_done: int,
        best: float | None,
        budget_s: float | None = None,
    ) -> None:
        """The search or the final comparison begins.

        Args:
            title: of the phase.
            num_runs: total number of trials or contenders; 0 if there is no limit but the time.
            num_done: how many of them earlier processes finished.
            best: best score so far, if there is one.
            budget_s: time after which no further one begins, if there is such a limit.
        """

    def progress(
        self, name: str, *, epoch: int, num_epochs: int, score: float | None, note: str = ""
    ) -> None:
        """A trial or contender has finished an epoch.

        Args:
            name: of the trial or contender.
            epoch: which one.
            num_epochs: of the trial or contender.
            score: after it, if it was scored.
            note: why it is not an epoch like others: a repetition; empty if it is.
        """

    def event(self, event: Event) -> None:
        """Something else happened: a run was restarted, a host joined or was lost."""

    def step(self) -> None:
        """Nothing need have happened: called many times a second while runs are in progress."""

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        """A trial or contender has ended, or was interrupted and will be resumed.

        Args:
            name: of the trial or contender.
            state: COMPLETE, PRUNED, FAIL or INTERRUPTED.
            score: its last score, if it has one.
            reason: why it failed or was interrupted; empty if it did not.
        """


@dataclass(slots=True)
class RunningRun:
    """What is known of a run that has reported an epoch."""

    hosts: str = ""
    attempt: str = ""
    epoch: int = 0
    num_restarts: int = 0


class WatchCallback(NotSaved, Callback):
    """Forwards Ray Tune's events to a watch, and says which faults it met.

    Args:
        watch: receives them.
        name_of: maps a Ray trial to its name.
        state_of: maps a Ray trial that has ended to its state.
        reason_of: maps a Ray trial that has ended to why it failed; empty if it did not.
        max_restarts: how often a run may be restarted.
        hosts: of the cluster.
    """

    def __init__(
        self,
        watch: StudyWatch,
        *,
        name_of: Any,
        state_of: Any,
        reason_of: Any,
        max_restarts: int,
        hosts: Hosts | None = None,
    ) -> None:
        self.watch = watch
        self.name_of = name_of
        self.state_of = state_of
        self.reason_of = reason_of
        self.max_restarts = max_restarts
        self.hosts = hosts or Hosts()
        self.known_hosts: set[str] | None = None
        self.runs: dict[str, RunningRun] = {}

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Say which hosts have joined and which were lost since the last step."""
        alive = self.hosts.alive()
        if self.known_hosts is not None and alive != self.known_hosts:
            are = f"{len(alive)} host{'s are' if len(alive) != 1 else ' is'} left"
            for host in sorted(self.known_hosts - alive):
                self.watch.event(Event(kind=HOST_LOST, text=f"host {host} lost, {are}", host=host))
            for host in sorted(alive - self.known_hosts):
                text = f"host {host} joined, there are {len(alive)} now"
                self.watch.event(Event(kind=HOST_JOINED, text=text, host=host))
        self.known_hosts = alive
        self.watch.step()

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict, **info: Any
    ) -> None:
        """Forward the end of an epoch."""
        if FAILURE in result:
            return
        name = self.name_of(trial)
        run = self.runs.setdefault(name, RunningRun())
        self.note_start(name, run, result)
        run.epoch = max(run.epoch, result[EPOCH])
        note = "stored" if result.get(REPORTED_BEFORE) else ""
        self.watch.progress(
            name,
            epoch=result[EPOCH],
            num_epochs=result[LAST_EPOCH],
            score=result.get(SCORE),
            note=note or ("trained again" if result.get(REPEATS) else ""),
        )

    def note_start(self, name: str, run: RunningRun, result: dict[str, Any]) -> None:
        """Say where a run trains, and that it was restarted if only its group of workers was."""
        attempt, hosts = result.get(ATTEMPT, ""), result.get(HOSTS, "")
        if attempt == run.attempt:
            return
        if run.attempt:  # no `on_trial_recover` came before
            self.note_restart(name, run, error=None)
        run.attempt, run.hosts = attempt, hosts
        text = f"{name} trains on {hosts}"
        self.watch.event(Event(kind=TRAINS_ON, text=text, run=name, host=hosts, epoch=run.epoch))

    def on_trial_recover(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Say that a run is restarted, and why."""
        name = self.name_of(trial)
        run = self.runs.setdefault(name, RunningRun())
        self.note_restart(name, run, error=last_error(trial))
        run.attempt = ""

    def note_restart(self, name: str, run: RunningRun, *, error: Exception | None) -> None:
        """Count a restart, and say what has led to it."""
        run.num_restarts += 1
        self.watch.event(
            restarted(
                name,
                error=error,
                host=run.hosts,
                alive=self.hosts.alive(now=True),
                restart=run.num_restarts,
                max_restarts=self.max_restarts,
                epoch=run.epoch,
            )
        )

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Forward the end of a trial that finished or was stopped."""
        result = trial.last_result or {}
        score = None if FAILURE in result else result.get(SCORE)
        self.ended(trial, score=score)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Forward a failure that will not be retried."""
        self.ended(trial, score=None)

    def ended(self, trial: RayTrial, *, score: float | None) -> None:
        """Forward the end of a trial with what the study has recorded of it."""
        self.runs.pop(self.name_of(trial), None)
        self.watch.ended(
            self.name_of(trial),
            state=self.state_of(trial),
            score=score,
            reason=self.reason_of(trial),
        )
