"""The section of the report about the final comparison."""

from html import escape

from daam.plots.chart import Chart, category_axis, linear_axis
from daam.plots.page import arrow, html_table, percent
from tune.holdout import TUNED
from tune.report.comparison import Entrant, entrants, verdict
from tune.report.figures import share
from tune.report.record import StudyRecord


def comparison_section(record: StudyRecord) -> str:
    """Return the verdict, the table and the chart of the comparison; empty before its end."""
    if not record.contenders:
        return ""
    rows = entrants(record.contenders, baseline=record.baseline)
    holdout = arrow(record.config.final_transfer)
    budget = record.contenders[0].config.optimiser
    table = html_table(
        ["", "mAP", "mINP", "rank-1", "rank-5"],
        [
            [
                escape(row.name),
                *(
                    percent(value)
                    for value in (row.mean_average_precision, row.mean_inp, row.rank_1, row.rank_5)
                ),
            ]
            for row in rows
        ],
        strong=[row.name == TUNED for row in rows],
        num_texts=1,
        kind="sticky",
    )
    note = (
        f"Query and gallery of the target, Market-1501 protocol: {rows[-1].num_queries} queries, "
        f"{rows[-1].num_left_out} left out because no other camera has seen the person. All "
        f"contenders trained for {budget.num_epochs} epochs of {budget.steps_per_epoch} steps."
    )
    return (
        f"<h2>Final comparison on {escape(holdout)}</h2>"
        f'<p class="verdict">{escape(verdict(rows, holdout=holdout))}</p>'
        f'<div class="charts">{comparison_chart(rows)}</div>{table}'
        f'<p class="note">{escape(note)}</p>'
    )


def comparison_chart(rows: list[Entrant]) -> str:
    """Return the mAP of each entrant as bars."""
    chart = Chart(
        x=linear_axis([0, 1], text=share),
        y=category_axis([row.name for row in reversed(rows)]),
        height=56 + 28 * len(rows),
    )
    for number, row in enumerate(reversed(rows)):
        value = row.mean_average_precision
        chart.bar(0, value, number, colour="var(--pale-blue)", size=16)
        chart.write(percent(value), value, number)
    return chart.as_html(title="mAP")
