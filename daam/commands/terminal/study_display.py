"""The display of a study: a live table in a terminal, plain lines in a log."""

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

NUM_ROWS = 12
OPEN = ("running", "INTERRUPTED")
STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "INTERRUPTED": "yellow"}


@dataclass(slots=True)
class RunRow:
    """A trial or contender in the table."""

    name: str
    state: str = "running"
    epoch: int = 0
    num_epochs: int = 0
    score: float | None = None


@dataclass(slots=True)
class StudyDisplay:
    """Follows a study; the remaining time is estimated from the runs so far.

    Args:
        console: to print on; one line per event if it is not a terminal.
    """

    console: Console
    title: str = ""
    num_runs: int = 0
    num_done_before: int = 0
    best_before: float | None = None
    rows: dict[str, RunRow] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=2, get_renderable=self.view)
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def phase(self, title: str, *, num_runs: int, num_done: int, best: float | None) -> None:
        """Begin a phase of the study."""
        self.title, self.num_runs = title, num_runs
        self.num_done_before, self.best_before = num_done, best
        self.rows, self.began = {}, time.monotonic()
        self.line(f"{title}: {num_runs} runs, {num_done} done before")

    def progress(self, name: str, *, epoch: int, num_epochs: int, score: float | None) -> None:
        """Show an epoch of a run."""
        row = self.rows.setdefault(name, RunRow(name))
        row.state, row.epoch, row.num_epochs, row.score = "running", epoch, num_epochs, score
        self.line(f"{name} epoch {epoch}/{num_epochs}{shown(score, before=' score ')}")

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        """Show the end of a run, and why it failed if it did."""
        row = self.rows.setdefault(name, RunRow(name))
        row.state = state
        row.score = row.score if score is None else score
        why = f" ({reason})" if reason else ""
        self.line(
            f"{name} {state}{why}{shown(score, before=' score ')}; {self.num_over()} of "
            f"{self.num_runs} over{shown(self.best(), before=', best ')}, "
            f"{self.time_left()} left"
        )

    def line(self, text: str) -> None:
        """Print a log line, unless a live table is shown."""
        if self.live is None:
            self.console.print(
                f"{time.strftime('%H:%M:%S')} {text}", highlight=False, soft_wrap=True, markup=False
            )

    def view(self) -> RenderableType:
        """Return the current table: running runs, and the latest finished ones."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("run", "state", "epoch", "score"):
            table.add_column(header, justify="left" if header in ("run", "state") else "right")
        running = [row for row in self.shown_rows() if row.state == "running"]
        over = [row for row in self.shown_rows() if row.state != "running"]
        for row in [*over, *running][-NUM_ROWS:]:
            best = row.score is not None and row.score == self.best()
            table.add_row(
                Text(row.name, style="bold" if best else ""),
                Text(row.state, style=STYLES.get(row.state, "cyan")),
                f"{row.epoch}/{row.num_epochs}",
                shown(row.score),
            )
        summary = Table.grid(padding=(0, 2))
        summary.add_row(
            Text(self.title, style="bold"),
            ProgressBar(total=max(1, self.num_runs), completed=self.num_over(), width=40),
            f"{self.num_over()} of {self.num_runs} over",
            shown(self.best(), before="best "),
            f"{self.time_left()} left",
        )
        return Group("", summary, "", table)

    def shown_rows(self) -> list[RunRow]:
        """Return a snapshot of the rows, since another thread draws the terminal."""
        return list(self.rows.values())

    def num_over(self) -> int:
        """Return how many runs are over."""
        return self.num_done_before + sum(row.state not in OPEN for row in self.shown_rows())

    def best(self) -> float | None:
        """Return the best score of a finished run, in this process or an earlier one."""
        scores = [self.best_before] + [
            row.score for row in self.shown_rows() if row.state == "COMPLETE"
        ]
        return max((score for score in scores if score is not None), default=None)

    def time_left(self) -> str:
        """Return the remaining time as m:ss; `?` before the first epoch is over."""
        share = sum(
            1.0 if row.state not in OPEN else row.epoch / max(1, row.num_epochs)
            for row in self.shown_rows()
        )
        if share == 0:
            return "?"
        left = self.num_runs - self.num_done_before - share
        seconds = int((time.monotonic() - self.began) / share * max(0.0, left))
        return f"{seconds // 60}:{seconds % 60:02d}"


def shown(value: float | None, *, before: str = "") -> str:
    """Format a score with three decimals; nothing for None."""
    return "" if value is None else f"{before}{value:.3f}"
