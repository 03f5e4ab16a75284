"""How a run is followed: a bar for the epoch's steps in a terminal, and a line after each epoch."""

import textwrap
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from daam.commands.terminal.screen import console, print_line

if TYPE_CHECKING:
    from daam.training.loop import StepProgress

RECENT_STEPS = 20  # that images/s is measured over
REFRESHES_PER_SECOND = 2
SPACE_IN_ITEM = "\u00a0"  # at which no line is broken


@contextmanager
def training_display() -> Iterator["TrainingDisplay"]:
    """Show a run until the end of the block; yields what `daam.train` calls."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[doing]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        expand=True,
        transient=True,
        refresh_per_second=REFRESHES_PER_SECOND,
    ) as bars:
        yield TrainingDisplay(bars)


class TrainingDisplay:
    """The bar of the current epoch, and a line for each that is done."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None, visible=False, doing="", left="")
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT_STEPS)
        self._epoch_began_s = 0.0
        self._last_epoch_s: float | None = None

    def on_step(self, progress: "StepProgress") -> None:
        """Update the bar."""
        now_s = time.monotonic()
        if progress.step == 0:
            self._recent.clear()
            self._epoch_began_s = now_s
        else:
            self._recent.append((now_s, progress.num_images))
        left_s = seconds_left(
            progress, elapsed_s=now_s - self._epoch_began_s, last_epoch_s=self._last_epoch_s
        )
        self._bars.update(
            self._task,
            description=f"epoch {progress.epoch}/{progress.num_epochs}",
            completed=progress.step,
            total=progress.num_steps,
            visible=True,
            doing=self._doing(progress),
            left="" if left_s is None else f"{hours(left_s)} left",
        )

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Print the epoch's line, its notes and its warnings."""
        self._last_epoch_s = metrics["seconds"]
        width = console.width if console.is_terminal else None
        print_line(epoch_text(metrics, width=width))
        for kind in ("note", "warning"):
            for text in metrics.get(f"{kind}s", ()):
                print_line(wrapped(f"  {kind.capitalize()}: {text}", width=width))

    def _doing(self, progress: "StepProgress") -> str:
        if progress.step == 0:
            return "preparing"  # pseudo-labels, and the first batch
        if progress.step == progress.num_steps:
            return "finishing"  # diagnostics and the checkpoint
        rate = images_per_second(self._recent)
        return "" if rate is None else f"{rate:.0f} images/s"


def last_warning(epochs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what to say at the end of a run whose last epoch had warnings; None: nothing."""
    if not epochs or not (warnings := epochs[-1].get("warnings")):
        return None
    count = sum("warnings" in metrics for metrics in epochs)
    return (
        f"the adaptation seems not to have worked ({count} of {len(epochs)} epochs had warnings); "
        f"the last: {'; '.join(warnings)}"
    )


def images_per_second(steps: deque[tuple[float, int]]) -> float | None:
    """Return the rate of the last steps, given when each was done and its images."""
    if len(steps) < 2 or steps[-1][0] <= steps[0][0]:
        return None
    num_images = sum(count for _, count in steps) - steps[0][1]
    return num_images / (steps[-1][0] - steps[0][0])


def seconds_left(
    progress: "StepProgress", *, elapsed_s: float, last_epoch_s: float | None
) -> float | None:
    """Estimate how long the run will take from here, if there is anything to tell by.

    Args:
        progress: how far it is.
        elapsed_s: since the start of this epoch.
        last_epoch_s: of the epoch before, in which everything is included; None in the first.
    """
    share = progress.step / progress.num_steps
    if last_epoch_s is None:
        if progress.step == 0:
            return None
        last_epoch_s = elapsed_s / share
    return (progress.num_epochs - progress.epoch + 1 - share) * last_epoch_s


def hours(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest_s:02d}"


def epoch_text(metrics: Mapping[str, Any], *, width: int | None) -> str:
    """Describe an epoch: losses with their share of the gradient, and the target's groups.

    Args:
        metrics: of the epoch, as `daam.train` reports them.
        width: lines are broken between items to be at most so long; None gives one line.
    """
    items = [
        f"epoch {metrics['epoch']:.0f}/{metrics['num_epochs']:.0f}",
        f"{metrics['seconds']:.1f} s",
        *groups_items(metrics),
        *loss_items(metrics),
    ]
    text = "  ".join(item.replace(" ", SPACE_IN_ITEM) for item in items)
    return wrapped(text, width=width).replace(SPACE_IN_ITEM, " ")


def wrapped(text: str, *, width: int | None) -> str:
    """Break text between words to fit a width, the following lines indented; None: one line."""
    if width is None:
        return text
    return textwrap.fill(
        text,
        width=width,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def groups_items(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Describe the target's groups, in an epoch that has them."""
    if "diagnostic/num_groups" in metrics:
        yield f"{metrics['diagnostic/num_groups']:.0f} groups"
        yield f"{metrics['diagnostic/outlier_share']:.0%} outliers"
    if "diagnostic/silhouette" in metrics:
        yield f"silhouette {metrics['diagnostic/silhouette']:.2f}"


def loss_items(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Describe each loss, with its share of the gradient norms in percent."""
    pulls = {
        name.removeprefix("diagnostic/gradient_"): value
        for name, value in metrics.items()
        if name.startswith("diagnostic/gradient_")
    }
    whole = sum(pulls.values())
    for name, value in metrics.items():
        if name.startswith("loss/"):
            term = name.removeprefix("loss/")
            share = f" ({pulls[term] / whole:.0%})" if whole > 0 and term in pulls else ""
            yield f"{term} {value:.3f}{share}"
