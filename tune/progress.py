"""The state of a running study: what has ended, what is running, how long is left."""

import time
from collections import deque
from dataclasses import dataclass, field

from tune.events import Event

RUNNING = "running"
OPEN = (RUNNING, "INTERRUPTED")
NUM_LINES = 40


@dataclass(slots=True)
class RunProgress:
    """A trial or contender."""

    name: str
    state: str = RUNNING
    epoch: int = 0
    num_epochs: int = 0
    score: float | None = None
    score_by_epoch: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True)
class StudyProgress:
    """Follows the phase of a study that is running, as a `tune.search.watch.StudyWatch`.

    Another thread may read it: each method works on a snapshot of the runs.
    """

    title: str = ""
    num_runs: int = 0
    num_done_before: int = 0
    best_before: float | None = None
    budget_s: float | None = None
    runs: dict[str, RunProgress] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=NUM_LINES))
    """The newest events, a line each with its time."""

    def phase(
        self,
        title: str,
        *,
        num_runs: int,
        num_done: int,
        best: float | None,
        budget_s: float | None = None,
    ) -> None:
        """Begin a phase."""
        self.title, self.num_runs = title, num_runs
        self.num_done_before, self.best_before = num_done, best
        self.budget_s = budget_s
        self.runs, self.began = {}, time.monotonic()
        runs = f"{num_runs} runs" if num_runs else "runs until the budget is spent"
        self.add_line(f"{title}: {runs}, {num_done} done before")

    def progress(
        self, name: str, *, epoch: int, num_epochs: int, score: float | None, note: str = ""
    ) -> None:
        """Record an epoch of a run."""
        run = self.runs.setdefault(name, RunProgress(name))
        run.state, run.epoch, run.num_epochs, run.score = RUNNING, epoch, num_epochs, score
        if score is not None:
            run.score_by_epoch[epoch] = score
        note = f" ({note})" if note else ""
        self.add_line(f"{name} epoch {epoch}/{num_epochs}{note}{shown(score, before=' score ')}")

    def event(self, event: Event) -> None:
        """Record what happened to a run, a host or the store."""
        if event.is_news:
            self.add_line(event.text)

    def step(self) -> None:
        """Do nothing."""

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        """Record the end of a run, or that it was interrupted."""
        run = self.runs.setdefault(name, RunProgress(name))
        run.state = state
        run.score = run.score if score is None else score
        why = f" ({reason})" if reason else ""
        self.add_line(
            f"{name} {state}{why}{shown(score, before=' score ')}; "
            f"{self.over_in_words()}{shown(self.best(), before=', best ')}, {self.time_left()} left"
        )

    def add_line(self, text: str) -> None:
        """Add a line with the time."""
        self.lines.append(f"{time.strftime('%H:%M:%S')} {text}")

    def not_over(self) -> list[RunProgress]:
        """Return the runs in progress, interrupted ones among them."""
        return [run for run in list(self.runs.values()) if run.state in OPEN]

    def over(self) -> list[RunProgress]:
        """Return the runs that have ended in this process."""
        return [run for run in list(self.runs.values()) if run.state not in OPEN]

    def num_over(self) -> int:
        """Return how many runs are over, those of earlier processes included."""
        return self.num_done_before + len(self.over())

    def over_in_words(self) -> str:
        """Return how many runs are over, and of how many if that is known."""
        total = f" of {self.num_runs}" if self.num_runs else ""
        return f"{self.num_over()}{total} over"

    def best(self) -> float | None:
        """Return the best score of a complete run, in this process or an earlier one."""
        scores = [self.best_before, *(run.score for run in self.over() if run.state == "COMPLETE")]
        return max((score for score in scores if score is not None), default=None)

    def seconds_left(self) -> float | None:
        """Estimate the rest of the phase at this process's pace; None before the first epoch."""
        share = len(self.over()) + sum(
            run.epoch / max(1, run.num_epochs) for run in self.not_over()
        )
        if share == 0:
            return None
        passed = time.monotonic() - self.began
        limits = []
        if self.num_runs:
            limits.append(passed / share * (self.num_runs - self.num_done_before - share))
        if self.budget_s is not None:
            limits.append(self.budget_s - passed)
        return max(0.0, min(limits)) if limits else None

    def time_left(self) -> str:
        """Return the remaining time as m:ss; `?` before the first epoch is over."""
        seconds = self.seconds_left()
        return "?" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def shown(value: float | None, *, before: str = "") -> str:
    """Format a score with three decimals; nothing for None."""
    return "" if value is None else f"{before}{value:.3f}"
