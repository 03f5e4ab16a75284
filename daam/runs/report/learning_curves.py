"""The metrics of runs over their epochs, as charts for a page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daam.plots.curves import curves

Row = Mapping[str, Any]
"""The metrics of an epoch, see `daam.training.loop.EpochReport.as_metrics`."""
COMPARED = (
    "mAP",
    "label_free/",
    "diagnostic/num_groups",
    "diagnostic/outlier_share",
    "diagnostic/silhouette",
    "diagnostic/probe_shared",
    "loss/",
)


def curves_section(rows: Sequence[Row]) -> str:
    """Return the charts of a run."""
    charts = [
        curves(lines(rows, "loss/", skip=("total",)), title="Losses", note="before their weights"),
        curves(
            lines(rows, "diagnostic/gradient_", of=gradient_shares),
            title="Share of the gradient",
            note="of the norms at the backbone's features, in percent",
            limits=(0, 100),
        ),
        curves(lines(rows, "diagnostic/num_groups"), title="Groups", limits=(0, None)),
        curves(
            lines(rows, "diagnostic/silhouette") | lines(rows, "diagnostic/outlier_share"),
            title="Silhouette and outliers",
            note="the silhouette of the groups, and the share of images in none",
        ),
        curves(
            lines(rows, "diagnostic/probe_"),
            title="Domain probe",
            note="accuracy of a linear probe that tells source from target; 0.5 is chance",
            limits=(0.5, 1),
        ),
        curves(
            lines(rows, "label_free/"),
            title="Without labels",
            note="share of mirrored target images whose nearest image is their own, at the start "
            "of the epoch",
            limits=(0, 1),
        ),
        curves(
            lines(rows, "mAP") | lines(rows, "rank-1"),
            title="Validation",
            note="on the target's validation identities, whose labels are known",
            limits=(0, None),
        ),
    ]
    return f'<h2>Curves</h2><div class="charts">{"".join(charts)}</div>' if any(charts) else ""


def gradient_shares(row: Row) -> dict[str, Any]:
    """Return an epoch's gradient norms as percentages of their sum."""
    norms = {name: value for name, value in row.items() if name.startswith("diagnostic/gradient_")}
    whole = sum(norms.values())
    return {name: 100 * value / whole for name, value in norms.items()} if whole > 0 else {}


def lines(
    rows: Sequence[Row],
    prefix: str,
    *,
    skip: Sequence[str] = (),
    of: Callable[[Row], Row] = dict,
) -> dict[str, list[tuple[float, float]]]:
    """Return the metrics whose names begin in one way, as lines over the epochs.

    Args:
        rows: the metrics of every epoch.
        prefix: left out of the lines' names where something follows it.
        skip: what may not follow it.
        of: makes a row from a row first.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in of(row).items():
            rest = name.removeprefix(prefix)
            if name.startswith(prefix) and rest not in skip:
                found.setdefault(rest or name.rpartition("/")[2], []).append((row["epoch"], value))
    return found


def comparison_section(runs: Mapping[str, Sequence[Row]]) -> str:
    """Return a chart for each metric that is worth it, with a line for each run."""
    names = dict.fromkeys(name for rows in runs.values() for row in rows for name in row)
    charts = [
        curves(
            {
                run: [(row["epoch"], row[name]) for row in rows if name in row]
                for run, rows in runs.items()
            },
            title=name,
        )
        for name in names
        if name.startswith(COMPARED)
    ]
    return f'<h2>Curves</h2><div class="charts">{"".join(charts)}</div>' if any(charts) else ""
