"""The figures of a study's report: Optuna's, in one sober look, and the final comparison."""

import re
from collections.abc import Sequence
from typing import Any, cast

import optuna
import plotly.graph_objects as go
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import (
    plot_intermediate_values,
    plot_optimization_history,
    plot_parallel_coordinate,
    plot_param_importances,
    plot_timeline,
)
from plotly.colors import sample_colorscale

from daam.plots.palette import BLUE, GREEN, GREY, INK, LINE, ORANGE, PALE, PALE_BLUE, VERMILLION
from tune.report.comparison import Entrant

STATE_COLOURS = {
    "COMPLETE": BLUE,
    "PRUNED": ORANGE,
    "FAIL": VERMILLION,
    "RUNNING": GREEN,
    "WAITING": PALE,
}
STATE_WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
SCALE = [PALE, BLUE]
"""Low to high score, readable in grey print as well."""
# Share of an axis that a label needs beside the one at the axis' end.
MIN_GAP = 0.06
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
SCORE, SCORE_AXIS = "Score", "Score (validation mAP)"


def comparison_figure(rows: Sequence[Entrant]) -> go.Figure:
    """mAP and rank-1 of each entrant, side by side."""
    names = [row.name for row in rows]
    figure = go.Figure()
    for title, colour, values in (
        ("mAP", BLUE, [row.mean_average_precision for row in rows]),
        ("rank-1", PALE_BLUE, [row.rank_1 for row in rows]),
    ):
        figure.add_bar(
            name=title,
            x=names,
            y=values,
            marker_color=colour,
            texttemplate="%{y:.1%}",
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x}: %{y:.1%}",
        )
    figure.update_layout(barmode="group", bargap=0.35, bargroupgap=0.08)
    figure.update_yaxes(range=[0, 1], tickformat=".0%", dtick=0.2)
    return _styled(figure, height=340)


def history_figure(trials: Sequence[FrozenTrial]) -> go.Figure:
    """The score of each complete trial and the best so far; pruned trials with their last score."""
    figure = plot_optimization_history(_study(trials), target_name=SCORE)
    figure.update_traces(
        selector={"mode": "markers"},
        name="complete",
        marker={"color": BLUE, "size": 9},
    )
    figure.update_traces(
        selector={"mode": "lines"},
        name="best so far",
        line={"color": BLUE, "width": 1.5, "shape": "hv"},
    )
    behind = {
        trial.number: trial.intermediate_values[max(trial.intermediate_values)]
        for trial in trials
        if trial.state == TrialState.PRUNED and trial.intermediate_values
    }
    if behind:
        figure.add_scatter(
            x=list(behind),
            y=list(behind.values()),
            name="pruned, at its last epoch",
            mode="markers",
            marker={"color": STATE_COLOURS["PRUNED"], "symbol": "x", "size": 8},
        )
    figure.update_xaxes(title="Trial", tickformat="d")
    figure.update_yaxes(title=SCORE_AXIS, tickformat=".0%")
    return _styled(figure, height=360)


def learning_figure(trials: Sequence[FrozenTrial], *, best_trial: int) -> go.Figure:
    """The score of each trial after each epoch; the best stands out, pruned ones end early."""
    figure = plot_intermediate_values(_study(trials))
    states = {f"Trial{trial.number}": trial.state.name for trial in trials}
    explained = set()
    for trace in _traces(figure):
        state = states[trace.name]
        best = trace.name == f"Trial{best_trial}"
        meaning = f"best: trial {best_trial}" if best else STATE_WORDS[state]
        trace.update(
            mode="lines+markers",
            line={
                "color": STATE_COLOURS[state],
                "width": 3 if best else 1.5,
                "dash": "dot" if state == "PRUNED" else "solid",
            },
            marker={"size": 6, "symbol": "x" if state == "PRUNED" else "circle"},
            opacity=1 if best else 0.6,
            zorder=1 if best else 0,
            hovertemplate=f"{trace.name}, epoch %{{x}}: %{{y:.1%}}<extra></extra>",
            name=meaning,
            legendgroup=meaning,
            showlegend=meaning not in explained,
        )
        explained.add(meaning)
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title="Epoch", tickformat="d")
    figure.update_yaxes(title=SCORE_AXIS, tickformat=".0%")
    return _styled(figure, height=380)


def importance_figure(trials: Sequence[FrozenTrial]) -> go.Figure | None:
    """How much of the scores' variance each parameter explains; None if that has no answer.

    It needs two complete trials with different scores.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len({trial.value for trial in complete}) < 2:
        return None
    figure = plot_param_importances(
        _study(trials), evaluator=FanovaImportanceEvaluator(seed=0), target_name=SCORE
    )
    names = short_names(list(complete[0].params))
    figure.update_traces(
        marker_color=BLUE,
        y=[names[path] for path in _traces(figure)[0].y],
        texttemplate="%{x:.0%}",
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    figure.update_xaxes(title="Share of the scores' variance", tickformat=".0%")
    figure.update_yaxes(title=None)
    return _styled(figure, height=120 + 34 * len(complete[0].params))


def parallel_figure(trials: Sequence[FrozenTrial]) -> go.Figure | None:
    """A line for each complete trial through its parameters; None if none has parameters."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not any(trial.params for trial in complete):
        return None
    figure = plot_parallel_coordinate(_study(trials), target_name=SCORE)
    names = short_names(sorted({path for trial in complete for path in trial.params}))
    labels = [re.sub(r"([._])", r"\1<br>", name) for name in names.values()]
    figure.update_xaxes(ticktext=[SCORE, *labels], tickangle=0, tickfont={"size": 12})
    # The last trace is a colour bar; the score has an axis already.
    figure.data = _traces(figure)[:-1]
    for trace in _traces(figure):
        height = trace.y[0]
        trace.update(
            line={"color": sample_colorscale(SCALE, height)[0], "width": 2},
            opacity=1,
            zorder=round(100 * height),
        )
    for label in _layout(figure).annotations:
        text = f"{100 * float(label.text):.1f}%" if label.x == 0 else label.text
        crowded = 0 < label.y < MIN_GAP or 1 - MIN_GAP < label.y < 1
        label.update(
            text="" if crowded else text,
            font={"size": 11, "color": GREY},
            bgcolor="rgba(255,255,255,0.75)",
        )
    return _styled(figure, height=420)


def timeline_figure(trials: Sequence[FrozenTrial]) -> go.Figure:
    """When each trial ran and how it ended."""
    figure = plot_timeline(_study(trials))
    for trace in _traces(figure):
        trace.update(marker_color=STATE_COLOURS[trace.name], name=STATE_WORDS[trace.name])
    figure.update_xaxes(title="Time of day")
    figure.update_yaxes(title="Trial")
    return _styled(figure, height=140 + 18 * min(len(trials), 40))


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The last parts of dotted paths, as many as keep them apart and at least two."""
    names = {}
    for path in paths:
        parts = path.split(".")
        for length in range(2, len(parts) + 1):
            name = ".".join(parts[-length:])
            if sum(f".{other}".endswith(f".{name}") for other in paths) == 1:
                break
        else:
            name = path
        names[path] = name
    return names


def _study(trials: Sequence[FrozenTrial]) -> optuna.Study:
    """A study in memory, which is what Optuna draws."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def _traces(figure: go.Figure) -> tuple[Any, ...]:
    """The traces; Plotly makes its attributes as it runs, so no type is known."""
    return cast("Any", figure).data


def _layout(figure: go.Figure) -> Any:
    return cast("Any", figure).layout


def _styled(figure: go.Figure, *, height: int) -> go.Figure:
    """Give a figure the look of the page."""
    has_legend = bool(_layout(figure).showlegend) or len(_traces(figure)) > 1
    has_title = bool(_layout(figure).xaxis.title.text)
    figure.update_layout(
        template="none",
        title=None,
        height=height,
        margin={"l": 60, "r": 24, "t": 40 if has_legend else 12, "b": 56 if has_title else 32},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        hoverlabel={"font": {"family": FONT}},
    )
    axis: dict[str, Any] = {
        "automargin": True,
        "gridcolor": LINE,
        "zeroline": False,
        "linecolor": GREY,
    }
    axis["title"] = {"font": {"size": 13, "color": GREY}}
    figure.update_xaxes(showgrid=False, **axis)
    figure.update_yaxes(**axis)
    return figure
