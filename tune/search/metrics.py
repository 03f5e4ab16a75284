"""What Prometheus is shown of a study by its driver: the states of its runs, the best score."""

import time

from ray.util.metrics import Gauge

from tune.events import Event
from tune.search.watch import StudyWatch

STATES = {"INTERRUPTED": 1, "RUNNING": 2, "COMPLETE": 3, "PRUNED": 4, "FAIL": 5}
"""Values of `daam_run_state`; of two drivers, one after the other, the greater one is the newer."""
TAGS = ("study", "run")


class StudyMetrics:
    """Publishes the progress of a study, as a `StudyWatch` that forwards to another.

    Args:
        study: its name.
        watch: receives every event, too.
    """

    def __init__(self, study: str, *, watch: StudyWatch) -> None:
        self.study = study
        self.watch = watch
        states = ", ".join(f"{value} {state}" for state, value in STATES.items())
        self.state = Gauge("daam_run_state", f"state of a run: {states}", TAGS)
        self.restarts = Gauge("daam_run_restarts", "times a run was started again", TAGS)
        self.seen = Gauge("daam_run_progress_timestamp_seconds", "when an epoch ended last", TAGS)
        self.best = Gauge("daam_study_best_score", "best score of a complete trial", ("study",))
        self.best_score: float | None = None
        self.is_search = False

    def phase(
        self,
        title: str,
        *,
        num_runs: int,
        num_done: int,
        best: float | None,
        budget_s: float | None = None,
    ) -> None:
        """Publish the best score of earlier processes."""
        self.watch.phase(title, num_runs=num_runs, num_done=num_done, best=best, budget_s=budget_s)
        self.is_search = title == "search"
        self.publish_best(best)

    def progress(
        self, name: str, *, epoch: int, num_epochs: int, score: float | None, note: str = ""
    ) -> None:
        """Publish that a run is going on."""
        self.watch.progress(name, epoch=epoch, num_epochs=num_epochs, score=score, note=note)
        self.publish(name, state="RUNNING")

    def event(self, event: Event) -> None:
        """Publish how often a run has been restarted."""
        self.watch.event(event)
        if event.restart is not None:
            self.restarts.set(event.restart, {"study": self.study, "run": event.run})

    def step(self) -> None:
        """Forward."""
        self.watch.step()

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        """Publish how a run has ended."""
        self.watch.ended(name, state=state, score=score, reason=reason)
        self.publish(name, state=state)
        if state == "COMPLETE" and self.is_search:
            self.publish_best(score)

    def publish(self, name: str, *, state: str) -> None:
        """Publish the state of a run, and that it has made progress now."""
        tags = {"study": self.study, "run": name}
        self.state.set(STATES[state], tags)
        self.seen.set(time.time(), tags)

    def publish_best(self, score: float | None) -> None:
        """Publish a score if it is the best so far."""
        if score is not None and (self.best_score is None or score > self.best_score):
            self.best_score = score
            self.best.set(score, {"study": self.study})
