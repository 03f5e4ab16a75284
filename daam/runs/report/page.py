"""A run's report, one HTML page in its folder: curves, warnings, results, pictures, settings.

It is made from the run's folder alone, so it can be written at any moment.
"""

import base64
import logging
import shlex
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any

from daam.config.load import setting
from daam.config.reference import changed_settings, settings_reference
from daam.config.schema import RunConfig
from daam.errors import StorageError
from daam.plots.page import arrow, duration, html_facts, html_page, html_table
from daam.runs.card import results_in_words, settings_of
from daam.runs.report.learning_curves import Row, curves_section
from daam.runs.results import RESULTS
from daam.runs.run_folder import REPORTS, read_reports
from daam.runs.stages import REUSED
from daam.storage import Store

REPORT = "report.html"
MAX_WARNINGS = 12
PICTURES = {
    "neighbours": "Nearest neighbours of sampled images",
    "ranked-lists": "Nearest gallery images of some queries",
    "groups": "Groups of the target's images",
    "projection": "Where the embeddings lie",
    "attention": "Where the attention looks",
    "calibration": "Distances of pairs, and thresholds",
}
"""Title by the name that `evaluate` gives a picture, in the order of the page."""

log = logging.getLogger(__name__)


def write_report(folder: Store) -> None:
    """Write `report.html` into a run's folder, from what is there now.

    A folder that cannot be written to is a warning, not an error.

    Raises:
        DaamError: there is no run in the folder, or a file of it is damaged.
    """
    page = report_page(folder)
    try:
        folder.write(REPORT, page.encode())
    except StorageError as error:
        log.warning("the run's report is not up to date: %s", error)


def report_page(folder: Store) -> str:
    """Return the page.

    Raises:
        DaamError: there is no run in the folder, or a file of it is damaged.
    """
    config, rows = settings_of(folder), read_reports(folder)
    title = f"Run {folder.name}"
    num_done = int(rows[-1]["epoch"]) if rows else 0
    return html_page(
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="subtitle">{escape(arrow(config.transfer))}: {num_done} of '
            f"{config.num_epochs} epochs</p>",
            summary(config, rows),
            warnings_section(rows),
            results_section(folder),
            curves_section(rows),
            pictures_section(folder),
            settings_section(config),
            last_epoch_section(rows),
            next_section(folder, config, is_finished=num_done >= config.num_epochs),
        ],
        title=title,
        has_dark=True,
    )


def summary(config: RunConfig, rows: Sequence[Row]) -> str:
    """Return what the run is, and where it stands."""
    found = {
        "Network": f"{config.model.backbone}, {config.model.attention.kind} attention, images of "
        f"{config.data.height} x {config.data.width} pixels",
        "Budget": f"{config.num_epochs} epochs of {config.optimiser.steps_per_epoch} "
        f"steps; seed {config.seed}",
    }
    if rows:
        parts = {
            name: sum(row.get(f"seconds/{name}", 0.0) for row in rows)
            for name in ("labels", "steps", "diagnostics")
        }
        found["Time"] = f"{duration(sum(row.get('seconds', 0.0) for row in rows))} (" + (
            ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items()) + ")"
        )
    if reused := [row for row in rows if REUSED in row]:
        found["Source stage"] = (
            f"epoch {ranges([int(row['epoch']) for row in reused])} from another run, which saved "
            f"{duration(sum(row['seconds'] for row in reused))} of that time"
        )
    words = {
        "num_groups": "{:.0f} in the last epoch",
        "outlier_share": "{:.0%} of the images in none",
        "silhouette": "silhouette {:.2f}",
    }
    last = rows[-1] if rows else {}
    groups = [
        text.format(last[f"diagnostic/{name}"])
        for name, text in words.items()
        if f"diagnostic/{name}" in last
    ]
    if groups:
        found["Groups"] = ", ".join(groups)
    if notes := [note for row in rows for note in row.get("notes", ())]:
        found["From the data"] = "; ".join(notes)
    return html_facts(found)


def warnings_section(rows: Sequence[Row]) -> str:
    """Return what was warned of, the latest last, each with its epochs."""
    epochs: dict[str, list[int]] = {}
    for row in rows:
        for text in row.get("warnings", ()):
            epochs.setdefault(text, []).append(int(row["epoch"]))
    if not epochs:
        return ""
    shown = list(epochs.items())[-MAX_WARNINGS:]
    items = "".join(
        f"<li>{escape(text)} <span class='faint'>(epoch {ranges(numbers)})</span></li>"
        for text, numbers in shown
    )
    more = len(epochs) - len(shown)
    rest = f'<p class="note">{more} earlier ones are in {REPORTS}.</p>' if more else ""
    return f'<h2>Warnings</h2><ul class="warnings">{items}</ul>{rest}'


def ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers as text, those in a row as a range."""
    runs = [
        [number for _, number in group]
        for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def results_section(folder: Store) -> str:
    """Return what evaluations of the run found."""
    lines = results_in_words(folder)
    if not lines:
        return ""
    return f"<h2>Results</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def pictures_section(folder: Store) -> str:
    """Return the pictures that evaluations of the run left in its folder."""
    keys = [key for key in folder.list(f"{RESULTS}/") if key.endswith(".png")]
    if not keys:
        return ""
    names = list(PICTURES)

    def parts(key: str) -> tuple[str, str]:
        domain, _, name = key.removeprefix(f"{RESULTS}/").removesuffix(".png").partition(".")
        return domain, name

    def place(key: str) -> tuple[str, int, str]:
        domain, name = parts(key)
        return domain, names.index(name) if name in PICTURES else len(names), name

    shown = []
    for key in sorted(keys, key=place):
        domain, name = parts(key)
        title = f"{PICTURES.get(name, name)}, {domain}"
        content = base64.b64encode(folder.read(key)).decode()
        shown.append(
            f'<h3>{escape(title)}</h3><img class="picture" loading="lazy" '
            f'alt="{escape(title)}" src="data:image/png;base64,{content}">'
        )
    return f"<h2>Pictures</h2>{''.join(shown)}"


def settings_section(config: RunConfig) -> str:
    """Return the settings that differ from the defaults, and all of them folded away."""
    changed = html_table(
        ["Setting", "Default", "Value"],
        [
            [f"<code>{escape(known.path)}</code>", shown(known.default), shown(value)]
            for known, value in changed_settings(config)
        ],
        num_texts=3,
    )
    every = html_table(
        ["Setting", "Value", "Meaning"],
        [
            [
                f"<code>{escape(known.path)}</code>",
                shown(setting(config, known.path)),
                escape(known.meaning),
            ]
            for known in settings_reference()
        ],
        num_texts=3,
    )
    return (
        f"<h2>Settings that differ from the defaults</h2>{changed}"
        f"<details><summary>All settings</summary>{every}</details>"
    )


def last_epoch_section(rows: Sequence[Row]) -> str:
    """Return all metrics of the last epoch, folded away."""
    if not rows:
        return ""
    cells = [
        [f"<code>{escape(name)}</code>", shown(value)]
        for name, value in rows[-1].items()
        if not isinstance(value, list)
    ]
    table = html_table(["Metric", "Value"], cells, num_texts=1)
    return f"<details><summary>All metrics of the last epoch</summary>{table}</details>"


def next_section(folder: Store, config: RunConfig, *, is_finished: bool) -> str:
    """Return the commands that go on from here."""
    commands = "\n".join(
        f"# {escape(purpose)}\n{escape(command)}"
        for purpose, command in next_commands(
            folder.uri,
            target=config.pair().target,
            is_finished=is_finished,
        )
    )
    return f"<h2>What to do next</h2><pre>{commands}</pre>"


def next_commands(uri: str, *, target: str, is_finished: bool) -> Iterator[tuple[str, str]]:
    """Yield what may be done with a run, and the command for it."""
    run = shlex.quote(uri)
    if not is_finished:
        yield "train on", f"daam train --resume {run}"
    yield "is it any good?", f"daam evaluate --checkpoint {run} --domain {target}"
    yield (
        "answer 50 questions for an error rate",
        f"daam label --checkpoint {run} --domain {target}",
    )
    yield "compare it with another run", f"daam compare {run} OTHER_RUN --to compare.html"
    yield "find a person", f"daam search --checkpoint {run} --gallery {target} --query PHOTO.jpg"
    yield "use it elsewhere", f"daam export --checkpoint {run} --to model.onnx"


def shown(value: Any) -> str:
    """Return a value as HTML."""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))
