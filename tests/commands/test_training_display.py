import io
import re
from collections import deque

import pytest
from rich.console import Console

from daam.commands.terminal import screen, training_display
from daam.commands.terminal.training_display import (
    epoch_text,
    images_per_second,
    last_warning,
    seconds_left,
)
from daam.training.loop import StepProgress

TERMS = ("identity", "triplet", "domain_classification", "domain_similarity", "target_triplet")
METRICS = {
    "epoch": 3,
    "num_epochs": 1000,
    "seconds": 12345.67,
    "loss/total": 16.25,
    **{f"loss/{term}": 1.5 for term in TERMS},
    **{f"diagnostic/gradient_{term}": 2.0 for term in TERMS},
    "diagnostic/num_groups": 12345,
    "diagnostic/outlier_share": 0.125,
    "diagnostic/silhouette": -0.31,
}


def at(step: int, *, epoch: int = 1, num_images: int = 128) -> StepProgress:
    return StepProgress(
        epoch=epoch, num_epochs=1000, step=step, num_steps=400, num_images=num_images
    )


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to a terminal of 80 columns."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80, color_system=None)
    for module in (screen, training_display):
        monkeypatch.setattr(module, "console", console)
    return written


def test_an_epoch_is_one_line_in_a_log() -> None:
    text = epoch_text(METRICS, width=None)
    assert text.startswith(
        "epoch 3/1000  12345.7 s  12345 groups  12% outliers  silhouette -0.31  total 16.250  "
        "identity 1.500 (20%)  "
    )
    assert "\n" not in text


def test_lines_of_a_terminal_break_between_items_only() -> None:
    lines = epoch_text(METRICS, width=80).splitlines()
    assert len(lines) > 1
    assert all(len(line) <= 80 for line in lines)
    assert "  ".join(line.strip() for line in lines) == epoch_text(METRICS, width=None)


def test_an_epoch_without_groups_or_gradients_has_no_figures_for_them() -> None:
    early = {name: value for name, value in METRICS.items() if not name.startswith("diagnostic/")}
    text = epoch_text(early, width=None)
    assert "groups" not in text
    assert "%" not in text
    vanished = METRICS | {f"diagnostic/gradient_{term}": 0.0 for term in TERMS}
    assert "identity 1.500  triplet" in epoch_text(vanished, width=None)


def test_the_rate_is_that_of_the_images_between_the_first_and_the_last_step() -> None:
    assert images_per_second(deque([(10.0, 64)])) is None
    assert images_per_second(deque([(10.0, 64), (10.5, 100), (12.0, 20)])) == 60


def test_the_time_left_counts_this_epoch_and_those_after_it() -> None:
    assert seconds_left(at(0), elapsed_s=0, last_epoch_s=None) is None
    assert seconds_left(at(100, epoch=999), elapsed_s=10, last_epoch_s=None) == 70
    assert seconds_left(at(100, epoch=999), elapsed_s=10, last_epoch_s=100) == 175
    assert seconds_left(at(400, epoch=1000), elapsed_s=99, last_epoch_s=100) == 0


def test_the_bar_fits_a_terminal_and_is_gone_at_the_end(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_display.time, "monotonic", iter(range(10)).__next__)
    with training_display.training_display() as display:
        for progress in (at(0), at(1), at(2, num_images=123_456), at(400)):
            display.on_step(progress)
            display._bars.refresh()
        display.on_epoch({**METRICS, "warnings": ["there is no group" + ", none at all" * 5]})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n")
    rows = [line for line in shown.splitlines() if "epoch 1/1000" in line]
    assert any("0/400 preparing" in row for row in rows)
    assert any("2/400 123456 images/s 111:0" in row for row in rows), rows
    assert any("400/400 finishing" in row for row in rows)
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "\n  Warning: there is no group, none" in shown


def test_a_log_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    for module in (screen, training_display):
        monkeypatch.setattr(module, "console", Console(file=written, width=80))
    with training_display.training_display() as display:
        display.on_step(at(0))
        display.on_step(at(1))
        display.on_epoch(METRICS)
    assert written.getvalue() == epoch_text(METRICS, width=None) + "\n"


def test_a_run_ends_with_the_warnings_of_its_last_epoch():
    fine = {"epoch": 1}
    broken = {"epoch": 2, "warnings": ["no group", "a loss of 0"]}
    assert last_warning([]) is None
    assert last_warning([broken, fine]) is None
    warning = last_warning([fine, broken, broken])
    assert warning is not None
    assert "2 of 3 epochs" in warning
    assert warning.endswith("no group; a loss of 0")
