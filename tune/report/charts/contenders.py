"""How the contenders trained: a line for each of their runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from daam.plots.chart import Chart, line_sample, linear_axis, whole_axis
from daam.plots.palette import DASHES

HOLDOUT = "holdout/"
SHOWN = {
    "loss/identity": "Identity loss on the source",
    "diagnostic/num_groups": "Groups of the target's images",
    "diagnostic/silhouette": "Silhouette of the groups",
}
Epochs = Mapping[str, Sequence[Mapping[str, Any]]]


def contender_charts(epochs: Epochs) -> str:
    """Return a chart for each of a few metrics, with a line for each run of a contender.

    Args:
        epochs: the metrics of every epoch of a run, by the run's folder below the study's.
    """
    runs = {
        run.removeprefix(HOLDOUT): rows for run, rows in epochs.items() if run.startswith(HOLDOUT)
    }
    charts = [contender_chart(runs, metric, title=title) for metric, title in SHOWN.items()]
    return f'<div class="charts">{"".join(charts)}</div>' if any(charts) else ""


def contender_chart(runs: Epochs, metric: str, *, title: str) -> str:
    """Return the chart of one metric; empty if no run has it."""
    lines = {
        run: [(row["epoch"], row[metric]) for row in rows if metric in row]
        for run, rows in runs.items()
    }
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    chart = Chart(
        x=whole_axis((epoch for epoch, _ in points), title="epoch"),
        y=linear_axis(value for _, value in points),
    )
    contenders = list(dict.fromkeys(run.partition("/")[0] for run in runs))
    styles = {
        name: (f"var(--series-{number + 1})", DASHES[number])
        for number, name in enumerate(contenders)
    }
    for run, line in lines.items():
        if line:
            name, _, seed = run.partition("/")
            colour, dash = styles[name]
            chart.line(line, colour=colour, dash=dash, kind="series faded")
            for epoch, value in line:
                words = f"{name} {seed.replace('-', ' ')}".strip()
                chart.spot(epoch, value, text=f"{words}, epoch {epoch}: {value:.4g}")
    legend = {name: line_sample(colour, dash=dash) for name, (colour, dash) in styles.items()}
    return chart.as_html(title=title, legend=legend)
