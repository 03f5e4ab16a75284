"""The section of the report about the search: its charts."""

from datetime import datetime
from html import escape

from optuna.trial import TrialState

from daam.config.load import setting
from tune.report.charts.settings import importance_chart, slice_chart
from tune.report.charts.trials import history_chart, learning_chart, timeline_chart
from tune.report.importances import MIN_TRIALS, importances
from tune.report.record import StudyRecord
from tune.report.trials import short_names


def search_section(record: StudyRecord) -> str:
    """Return the charts of the search; importances only once it has ended, since they take long."""
    if not record.trials:
        return ""
    study = record.config.study
    best = None if record.best is None else record.best.number
    score = record.score_name
    charts = [
        history_chart(record.trials, score=score),
        learning_chart(
            record.trials,
            best=best,
            score=score,
            num_epochs=record.config.run.num_epochs,
            transfers=study.search_transfers,
        ),
        timeline_chart(record.trials, now=datetime.now() if record.progress else None),
        "" if record.progress else importances_part(record),
    ]
    slices = slices_part(record, best=best)
    empty = "" if best is not None else f'<p class="note">{escape(nothing_complete(record))}</p>'
    return f'<h2>The search</h2>{empty}<div class="charts">{"".join(charts)}</div>{slices}'


def nothing_complete(record: StudyRecord) -> str:
    """Return what there is instead of a score."""
    states = {trial.state for trial in record.trials}
    if not all(state.is_finished() for state in states):
        return "No trial is complete yet, so there is no best one."
    if states == {TrialState.FAIL}:
        return "Every trial failed, so there is no best one; the reasons are below."
    return "No trial is complete: all were pruned or failed, for the reasons below."


def importances_part(record: StudyRecord) -> str:
    """Return the importances of the settings, or what is missing for them."""
    space = record.config.distributions()
    found = importances(record.trials, space)
    if found:
        ranked = {importance.path for importance in found}
        return importance_chart(found, left_out=[path for path in space if path not in ranked])
    return (
        '<figure class="chart"><h3>Which settings mattered</h3><p class="note">There are no '
        f"importances: they take at least {MIN_TRIALS} complete trials with different scores.</p>"
        "</figure>"
    )


def slices_part(record: StudyRecord, *, best: int | None) -> str:
    """Return a chart for each setting: its values and the scores of the trials that had them."""
    names = short_names(list(record.config.search))
    charts = [
        slice_chart(
            path,
            record.trials,
            name=names[path],
            values=values,
            best=best,
            default=setting(record.config.run, path),
        )
        for path, values in record.config.distributions().items()
    ]
    if not any(charts):
        return ""
    return (
        '<h3>Score over each setting</h3><p class="note">A dot for each complete trial, the best '
        f'in orange.</p><div class="charts small">{"".join(charts)}</div>'
    )
