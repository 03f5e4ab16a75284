"""The metrics of runs over their epochs, as charts for a page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daam.plots.curves import curves

Row = Mapping[str, Any]
"""The metrics of an epoch, see `daam.training.loop.EpochReport.as_metrics`."""


def curves_section(runs: Mapping[str, Sequence[Row]]) -> str:
    """Return the charts of one run, or of several over each other.

    Args:
        runs: name -> rows of `reports.json`. The name of a single run may be empty.
    """
    charts = [
        curves(lines(runs, "loss/", skip=("total",)), title="Losses", note="before their weights"),
        curves(
            lines(runs, "diagnostic/gradient_", of=gradient_shares),
            title="Share of the gradient",
            note="of the norms at the backbone's features, in percent",
            limits=(0, 100),
        ),
        curves(lines(runs, "diagnostic/num_groups"), title="Groups", limits=(0, None)),
        curves(
            lines(runs, "diagnostic/silhouette") | lines(runs, "diagnostic/outlier_share"),
            title="Silhouette and outliers",
            note="the silhouette of the groups, and the share of images in none",
        ),
        curves(
            lines(runs, "diagnostic/probe_"),
            title="Domain probe",
            note="accuracy of a linear probe that tells source from target; 0.5 is chance",
            limits=(0.5, 1),
        ),
        curves(
            lines(runs, "label_free/"), title="Without labels", note="scores that need no labels"
        ),
        curves(
            lines(runs, "mAP") | lines(runs, "rank-1"),
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
    runs: Mapping[str, Sequence[Row]],
    prefix: str,
    *,
    skip: Sequence[str] = (),
    of: Callable[[Row], Row] = dict,
) -> dict[str, list[tuple[float, float]]]:
    """Return the metrics whose names begin in one way, as lines over the epochs.

    Args:
        runs: as for `curves_section`.
        prefix: left out of the lines' names where something follows it.
        skip: what may not follow it.
        of: makes a row from a row first.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for run, rows in runs.items():
        for row in rows:
            for name, value in of(row).items():
                rest = name.removeprefix(prefix)
                if not name.startswith(prefix) or rest in skip:
                    continue
                metric = rest if rest and prefix.endswith(("/", "_")) else name.rpartition("/")[2]
                line = f"{run}: {metric}" if run else metric
                found.setdefault(line, []).append((row["epoch"], value))
    return found
