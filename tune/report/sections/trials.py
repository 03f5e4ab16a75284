"""The sections of the report about single trials: why some ended early, and a table of all."""

import re
from html import escape

from optuna.trial import FrozenTrial, TrialState

from daam.plots.page import NONE, arrow, duration, html_table, percent
from tune.report.cells import shown
from tune.report.charts.trials import front_chart
from tune.report.record import StudyRecord
from tune.report.trials import (
    final_score,
    front_of,
    last_score,
    ranked,
    short_names,
    state_in_words,
    training_seconds,
    why_ended,
)


def ended_section(record: StudyRecord) -> str:
    """Return why each trial was pruned or failed; empty if none was."""
    ended = [
        trial for trial in record.trials if trial.state in (TrialState.PRUNED, TrialState.FAIL)
    ]
    if not ended:
        return ""
    rows = [
        [
            str(trial.number),
            state_in_words(trial.state.name),
            escape(why_ended(trial, record.trials, pruner=record.config.study.pruner)),
        ]
        for trial in ended
    ]
    return "<h2>Pruned and failed trials</h2>" + html_table(
        ["Trial", "State", "Why"], rows, num_texts=3
    )


def front_section(record: StudyRecord) -> str:
    """Return a table of the trials that no other beats in both objectives, if there are two."""
    front = front_of(record.trials)
    if not front:
        return ""
    rows = [
        [str(trial.number), score_cell(trial), duration(training_seconds(trial) or 0)]
        for trial in front
    ]
    return (
        '<h2>Score and training time</h2><p class="note">The trials that no other beats in both; '
        "the contenders use the one with the best score.</p>"
        f'<div class="charts">{front_chart(record.trials, score=record.score_name)}</div>'
        + html_table(["Trial", "Score", "Time"], rows, num_texts=1)
    )


def trials_section(record: StudyRecord) -> str:
    """Return a table of all trials, the best first."""
    if not record.trials:
        return ""
    trials = ranked(record.trials)
    best = None if record.best is None else record.best.number
    names = short_names(list(record.config.search))
    transfers = record.config.study.search_transfers
    header = [
        *("Trial", "Score", "State", "Epochs"),
        *(arrow(text) for text in transfers),
        *(re.sub(r"([._])", "\\1\u200b", name) for name in names.values()),
    ]
    rows = []
    for trial in trials:
        scores = trial.user_attrs.get("scores", {})
        rows.append(
            [
                str(trial.number),
                score_cell(trial),
                state_in_words(trial.state.name),
                str(max(trial.intermediate_values, default=0)),
                *(percent(scores[text]) if text in scores else NONE for text in transfers),
                *(shown(trial.params[path]) if path in trial.params else NONE for path in names),
            ]
        )
    table = html_table(
        header,
        rows,
        strong=[trial.number == best for trial in trials],
        num_texts=3,
        kind="trials sticky sticky-two",
    )
    return (
        '<h2>All trials</h2><p class="note">Best first. The score of a trial that was pruned is '
        "the one it was stopped with: it is not comparable with those after all epochs.</p>"
        f"{table}"
    )


def score_cell(trial: FrozenTrial) -> str:
    """Return a trial's score as HTML, greyed unless it is that of a complete trial."""
    score = last_score(trial)
    if score is None:
        return NONE
    words = percent(score)
    return words if final_score(trial) is not None else f'<span class="faint">{words}</span>'
