"""Several runs beside each other: where their settings differ, and how far each has come."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from daam.config.load import setting
from daam.config.reference import settings_reference
from daam.config.schema import RunConfig
from daam.plots.page import NONE, arrow, duration, html_page, html_table
from daam.runs.card import settings_of
from daam.runs.report.learning_curves import Row, comparison_section
from daam.runs.results import read_results, read_scores
from daam.runs.run_folder import SCORES, read_reports
from daam.storage import Store

WHERE = ("data.root", "data.cache", "data.cache_gb", "data.num_threads", "compute.")
"""Settings that cannot change what is learnt: not compared."""
LAST = {
    "loss/": "loss {}",
    "diagnostic/num_groups": "groups",
    "diagnostic/outlier_share": "share of images in no group",
    "diagnostic/silhouette": "silhouette",
    "label_free/self_retrieval": "self retrieval, without labels",
    "diagnostic/probe_shared": "domain probe, shared part",
    "mAP": "validation mAP",
}
"""What of the last epoch is compared: the beginning of its name -> what it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs beside each other; every tuple has a value per run, None where it has none.

    Attributes:
        names: the runs' folders, by their last part if that is enough to tell them apart.
        settings: path -> values, for settings that differ.
        figures: what it is -> values: epochs and seconds, the last epoch's metrics, and results of
            evaluations.
        reports: name -> metrics of every epoch.
    """

    names: tuple[str, ...]
    settings: dict[str, tuple[Any, ...]]
    figures: dict[str, tuple[Any, ...]]
    reports: dict[str, Sequence[Row]]

    def as_document(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"runs": self.names, "settings": self.settings, "figures": self.figures}


def compare_runs(folders: Sequence[Store]) -> Comparison:
    """Read runs, finished or not.

    Raises:
        DaamError: a folder holds no run, or a file of it is damaged.
    """
    names = tuple(folder.name for folder in folders)
    if len(set(names)) < len(names):
        names = tuple(folder.uri for folder in folders)
    configs = [settings_of(folder) for folder in folders]
    reports = [read_reports(folder) for folder in folders]
    settings = {
        known.path: tuple(setting(config, known.path) for config in configs)
        for known in settings_reference()
        if not known.path.startswith(WHERE)
    }
    figures = [
        dict(figures_of(folder, rows, config))
        for folder, rows, config in zip(folders, reports, configs, strict=True)
    ]
    every = dict.fromkeys(name for found in figures for name in found)
    return Comparison(
        names=names,
        settings={
            path: values
            for path, values in settings.items()
            if any(value != values[0] for value in values)
        },
        figures={name: tuple(found.get(name) for found in figures) for name in every},
        reports=dict(zip(names, reports, strict=True)),
    )


def figures_of(folder: Store, rows: Sequence[Row], config: RunConfig) -> Iterator[tuple[str, Any]]:
    """Yield what is compared of a run, by what it is called."""
    num_done = int(rows[-1]["epoch"]) if rows else 0
    yield "epochs", f"{num_done} of {config.num_epochs}"
    if rows:
        yield "time", duration(sum(row.get("seconds", 0.0) for row in rows))
    for prefix, called in LAST.items():
        for name, value in rows[-1].items() if rows else ():
            if name.startswith(prefix):
                yield called.format(name.removeprefix(prefix)), value
    if folder.exists(SCORES):
        kind, found = read_scores(folder)
        yield from OF_RESULTS[kind](config.pair().target, found)
    for (domain, kind), found in sorted(read_results(folder).items()):
        yield from OF_RESULTS[kind](domain, found)


def of_scores(domain: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a labelled test found."""
    yield f"mAP on {domain}", found["mean_average_precision"]
    yield f"rank-1 on {domain}", found["cmc"]["1"]


def of_answers(domain: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a person's answers gave."""
    yield f"nearest image is wrong on {domain}, by a person", found["error_rate"]["value"]


def of_assessment(domain: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what was found without labels."""
    yield f"ranking score on {domain}, without labels", found["ranking_score"]
    if found["estimate"] is not None:
        names = ("mean_average_precision", "low", "high")
        value, low, high = (found["estimate"][name] for name in names)
        yield (
            f"mAP on {domain}, estimated without labels",
            f"{value:.3f} ({low:.3f} to {high:.3f})",
        )


OF_RESULTS: Mapping[str, Callable[[str, Mapping[str, Any]], Iterator[tuple[str, Any]]]] = {
    "scores": of_scores,
    "labelled": of_answers,
    "assessment": of_assessment,
}


def comparison_page(found: Comparison) -> str:
    """Return the comparison as one HTML page, with the curves of all runs over each other."""
    title = f"{len(found.names)} runs compared"
    return html_page(
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="subtitle">{escape(", ".join(found.names))}</p>',
            "<h2>How they did</h2>",
            html_table(["", *found.names], as_cells(found.figures), num_texts=1),
            "<h2>Settings that differ</h2>",
            html_table(["Setting", *found.names], as_cells(found.settings), num_texts=1)
            if found.settings
            else "<p>None.</p>",
            comparison_section(found.reports),
        ],
        title=title,
        has_dark=True,
    )


def as_cells(rows: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    """Return rows as HTML."""
    return [
        [escape(name), *(NONE if value is None else escape(as_text(value)) for value in values)]
        for name, values in rows.items()
    ]


def as_text(value: Any) -> str:
    """Return a value for a table."""
    return f"{value:.4g}" if isinstance(value, float) else arrow(str(value))
