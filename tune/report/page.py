"""A study's results as one HTML page."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from daam.config.load import setting
from daam.plots.page import NONE, arrow, duration, html_facts, html_page, html_table
from tune.holdout import TUNED
from tune.report.comparison import Entrant, entrants, percent, verdict
from tune.report.figures import (
    STATE_COLOURS,
    STATE_WORDS,
    comparison_figure,
    history_figure,
    importance_figure,
    learning_figure,
    parallel_figure,
    short_names,
    timeline_figure,
)
from tune.report.provenance import GitCommit
from tune.study import StudyResult

FIGURE_CONFIG = {"displayModeBar": False, "responsive": True, "plotlyServerURL": ""}


def report_page(
    result: StudyResult,
    *,
    seconds: Mapping[str, float],
    baseline: Mapping[str, Any] | None,
    versions: Mapping[str, str],
    commit: GitCommit | None,
) -> str:
    """The whole page; arguments as for `tune.report.files.write_report`."""
    study = result.config.study
    title = f"Study {study.name}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        '<p class="subtitle">Search for the hyper-parameters of a person re-identification model '
        "that adapts to a domain without labels</p>",
        _summary(result, seconds=seconds, versions=versions, commit=commit),
        _comparison(result, entrants(result.contenders, baseline=baseline)),
        _settings(result),
        _search(result),
        _trials(result),
    ]
    return html_page(sections, title=title, script=get_plotlyjs())


def _summary(
    result: StudyResult,
    *,
    seconds: Mapping[str, float],
    versions: Mapping[str, str],
    commit: GitCommit | None,
) -> str:
    study = result.config.study
    states = Counter(trial.state.name for trial in result.trials)
    counts = ", ".join(f"{count} {STATE_WORDS[state]}" for state, count in states.most_common())
    phases = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
    rows = {
        "Searched": f"{len(result.config.search)} settings on "
        + ", ".join(arrow(transfer) for transfer in study.search_transfers),
        "Score of a trial": f"{study.aggregate} over these transfers of the mAP on validation "
        "identities, cut from the target's train split",
        "Held out": f"{arrow(study.holdout)}, looked at once, after the search",
        "Budget": f"{len(result.trials)} trials ({counts}) of at most "
        f"{result.config.run.optimiser.num_epochs} epochs with "
        f"{result.config.run.optimiser.steps_per_epoch} steps; seed {study.seed}",
        "Time": f"{duration(sum(seconds.values()))} ({phases})",
        "Code": "not a git checkout" if commit is None else f"commit {commit}",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return html_facts(rows)


def _comparison(result: StudyResult, rows: Sequence[Entrant]) -> str:
    holdout = arrow(result.config.study.holdout)
    budget = result.contenders[0].config.optimiser
    left_out = rows[-1].num_left_out
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
    )
    note = (
        f"Query and gallery of the target, Market-1501 protocol: {rows[-1].num_queries} queries, "
        f"{left_out} left out because no other camera has seen the person. All contenders trained "
        f"for {budget.num_epochs} epochs of {budget.steps_per_epoch} steps."
    )
    return (
        f"<h2>Final comparison on {escape(holdout)}</h2>"
        f'<p class="verdict">{escape(verdict(rows, holdout=holdout))}</p>'
        f"{table}{_figure(comparison_figure(rows), name='comparison')}"
        f'<p class="note">{escape(note)}</p>'
    )


def _settings(result: StudyResult) -> str:
    config = result.config
    rows, same = [], []
    for path, spec in config.search.items():
        default, best = setting(config.run, path), setting(result.best, path)
        if best == default:
            same.append(path)
        else:
            rows.append(
                [f"<code>{escape(path)}</code>", _range(spec), _value(default), _value(best)]
            )
    heading = f"<h2>Best settings, from trial {result.best_trial}</h2>"
    if not rows:
        return heading + "<p>They are the default settings: no trial scored higher.</p>"
    table = html_table(["Setting", "Searched", "Default", "Best"], rows, num_texts=2)
    unchanged = (
        f'<p class="note">Searched and left at the default: {escape(", ".join(same))}.</p>'
        if same
        else ""
    )
    return heading + table + unchanged


def _search(result: StudyResult) -> str:
    importance = importance_figure(result.trials)
    parallel = parallel_figure(result.trials)
    num_complete = sum(trial.state == TrialState.COMPLETE for trial in result.trials)
    return "\n".join(
        [
            "<h2>The search</h2>",
            "<h3>History</h3>",
            _figure(history_figure(result.trials), name="history"),
            "<h3>Learning curves</h3>",
            '<p class="note">A trial that falls behind the median of the others is stopped early '
            "(pruned).</p>",
            _figure(learning_figure(result.trials, best_trial=result.best_trial), name="learning"),
            "<h3>Which settings mattered</h3>",
            (
                '<p class="note">There are no importances: they take at least two complete trials '
                "with different scores.</p>"
                if importance is None
                else '<p class="note">How much of the variance of the scores each setting explains '
                f"(fANOVA, {num_complete} complete trials). With few trials this is a hint, not a "
                f"finding.</p>{_figure(importance, name='importance')}"
            ),
            "<h3>Settings and scores together</h3>",
            "" if parallel is None else _figure(parallel, name="parallel"),
            "<h3>When the trials ran</h3>",
            _figure(timeline_figure(result.trials), name="timeline"),
        ]
    )


def _trials(result: StudyResult) -> str:
    """All trials, the best first; those without a score of the whole budget after the others."""

    def place(trial: FrozenTrial) -> tuple[bool, float, int]:
        return trial.state != TrialState.COMPLETE, -(trial.value or 0), trial.number

    ranked = sorted(result.trials, key=place)
    names = short_names(list(result.config.search))
    transfers = result.config.study.search_transfers
    header = ["Trial", "State", "Epochs", "Score", *(arrow(text) for text in transfers)]
    rows = []
    for trial in ranked:
        scores = trial.user_attrs.get("scores", {})
        rows.append(
            [
                str(trial.number),
                _state(trial.state.name),
                str(max(trial.intermediate_values, default=0)),
                _score(trial),
                *(percent(scores[text]) if text in scores else NONE for text in transfers),
                *(_value(trial.params[path]) if path in trial.params else NONE for path in names),
            ]
        )
    table = html_table(
        [*header, *(re.sub(r"([._])", "\\1\u200b", name) for name in names.values())],
        rows,
        strong=[trial.number == result.best_trial for trial in ranked],
        num_texts=2,
        kind="trials",
    )
    return (
        '<h2>All trials</h2><p class="note">Best first. The score of a trial that was pruned is '
        "the one it was stopped with: it is not comparable with those after all epochs.</p>"
        f"{table}"
    )


def _figure(figure: go.Figure, *, name: str) -> str:
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=f"figure-{name}", config=FIGURE_CONFIG
    )
    return f'<div class="figure">{drawn}</div>'


def _state(name: str) -> str:
    return f'<span class="state" style="--state: {STATE_COLOURS[name]}">{STATE_WORDS[name]}</span>'


def _score(trial: FrozenTrial) -> str:
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return percent(trial.value)
    if not trial.intermediate_values:
        return NONE
    last = trial.intermediate_values[max(trial.intermediate_values)]
    return f'<span class="faint">{percent(last)}</span>'


def _range(spec: Any) -> str:
    if isinstance(spec, list):
        return f"one of {', '.join(_value(value) for value in spec)}"
    scale = ", log scale" if spec.get("log") else ""
    step = f", in steps of {_value(spec['step'])}" if spec.get("step") else ""
    return f"{_value(spec['low'])} to {_value(spec['high'])}{scale}{step}"


def _value(value: Any) -> str:
    return escape(f"{value:.3g}" if isinstance(value, float) else str(value))
