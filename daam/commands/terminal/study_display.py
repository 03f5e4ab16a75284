"""The display of a study: a live table in a terminal, plain lines in a log."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tune.events import Event
from tune.progress import StudyProgress, shown

NUM_ROWS = 12
STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "INTERRUPTED": "yellow"}


@dataclass(slots=True)
class StudyDisplay:
    """Shows a study's progress.

    Args:
        console: to print on; one line per event if it is not a terminal.
    """

    console: Console
    study: StudyProgress = field(default_factory=StudyProgress)
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

    def phase(
        self,
        title: str,
        *,
        num_runs: int,
        num_done: int,
        best: float | None,
        budget_s: float | None = None,
    ) -> None:
        """Begin a phase of the study."""
        self.study.phase(title, num_runs=num_runs, num_done=num_done, best=best, budget_s=budget_s)
        self.line()

    def progress(
        self, name: str, *, epoch: int, num_epochs: int, score: float | None, note: str = ""
    ) -> None:
        """Show an epoch of a run."""
        self.study.progress(name, epoch=epoch, num_epochs=num_epochs, score=score, note=note)
        self.line()

    def event(self, event: Event) -> None:
        """Show what happened to a run, a host or the store; in a terminal, above the table."""
        self.study.event(event)
        if event.is_news:
            self.print_above()

    def step(self) -> None:
        """Do nothing: a live table renews itself."""

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        """Show the end of a run, and why it failed if it did."""
        self.study.ended(name, state=state, score=score, reason=reason)
        self.line()

    def line(self) -> None:
        """Print the newest line, unless a live table is shown."""
        if self.live is None:
            self.print_above()

    def print_above(self) -> None:
        """Print the newest line, which stays."""
        self.console.print(self.study.lines[-1], highlight=False, soft_wrap=True, markup=False)

    def view(self) -> RenderableType:
        """Return the current table: running runs, and the latest finished ones."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("run", "state", "epoch", "score"):
            table.add_column(header, justify="left" if header in ("run", "state") else "right")
        best = self.study.best()
        for run in [*self.study.over(), *self.study.not_over()][-NUM_ROWS:]:
            table.add_row(
                Text(run.name, style="bold" if run.score is not None and run.score == best else ""),
                Text(run.state, style=STYLES.get(run.state, "cyan")),
                f"{run.epoch}/{run.num_epochs}",
                shown(run.score),
            )
        summary = Table.grid(padding=(0, 2))
        summary.add_row(
            Text(self.study.title, style="bold"),
            ProgressBar(
                total=max(1, self.study.num_runs), completed=self.study.num_over(), width=40
            ),
            self.study.over_in_words(),
            shown(best, before="best "),
            f"{self.study.time_left()} left",
        )
        return Group("", summary, "", table)
