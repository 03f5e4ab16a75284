"""The section of the report about the final comparison."""

from html import escape

from daam.plots.chart import Chart, category_axis, dot_sample, linear_axis
from daam.plots.page import NONE, arrow, html_table, percent
from tune.contenders.final import TUNED
from tune.report.charts.shares import share
from tune.report.comparison import NOT_PROVEN, Comparison, Entrant, compare
from tune.report.record import StudyRecord


def comparison_section(record: StudyRecord) -> str:
    """Return the verdict, the table and the chart of the comparison; empty before its end."""
    if not record.config.final_transfer:
        return f"<h2>No final comparison</h2><p>{escape(NOT_PROVEN)}</p>"
    comparison = compare(record.config, record.contenders, baseline=record.baseline)
    if comparison is None:
        return ""
    rows = comparison.entrants
    budget = record.contenders[0].config.optimiser
    table = html_table(
        ["", comparison.heading, "sd", "each seed", "mINP", "rank-1", "rank-5"],
        [
            [
                escape(row.name),
                percent(row.score),
                NONE if row.spread is None else percent(row.spread),
                ", ".join(percent(score) for score in row.by_seed.values()) or NONE,
                *retrieval_cells(row),
            ]
            for row in rows
        ],
        strong=[row.name == TUNED for row in rows],
        num_texts=1,
        kind="sticky",
    )
    note = (
        f"All contenders trained for {budget.num_epochs} epochs of {budget.steps_per_epoch} steps "
        "with the same seeds. Scores are means over them, sd is the sample standard deviation."
    )
    retrieval = rows[-1].retrieval
    if retrieval is not None:
        note = (
            "Query and gallery of the target, Market-1501 protocol: "
            f"{retrieval.num_queries} queries, {retrieval.num_left_out} left out because no other "
            f"camera has seen the person. {note}"
        )
    return (
        f"<h2>Final comparison on {escape(arrow(comparison.transfer))}</h2>"
        f'<p class="verdict">{escape(comparison.verdict)}</p>'
        f'<div class="charts">{comparison_chart(comparison)}</div>{table}'
        f'<p class="note">{escape(note)}</p>'
    )


def retrieval_cells(row: Entrant) -> list[str]:
    """Return the table's cells of the other scores on query and gallery."""
    scores = row.retrieval
    if scores is None:
        return [NONE] * 3
    return [percent(value) for value in (scores.mean_inp, scores.rank_1, scores.rank_5)]


def comparison_chart(comparison: Comparison) -> str:
    """Return the score of each entrant as bars, with a dot for each seed."""
    rows = comparison.entrants
    chart = Chart(
        x=linear_axis([0, 1], text=share),
        y=category_axis([row.name for row in reversed(rows)]),
        height=56 + 28 * len(rows),
    )
    for number, row in enumerate(reversed(rows)):
        chart.bar(0, row.score, number, colour="var(--pale-blue)", size=16)
        for seed, score in row.by_seed.items():
            text = f"{row.name}, seed {seed}: {percent(score)}"
            chart.dot(score, number, colour="var(--blue)", text=text, r=3)
        chart.write(percent(row.score), max([row.score, *row.by_seed.values()]), number)
    return chart.as_html(title=comparison.heading, legend={"one seed": dot_sample("var(--blue)")})
