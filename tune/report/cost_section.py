"""The section of the report about cost: where the time of the trials went."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from optuna.trial import FrozenTrial

from daam.plots.page import duration, html_table, percent
from tune.report.record import StudyRecord
from tune.report.trials import STATE_WORDS, state_in_words

PHASES = {
    "seconds/labels": "pseudo-labels",
    "seconds/steps": "training steps",
    "seconds/diagnostics": "diagnostics",
}


def cost_section(record: StudyRecord) -> str:
    """Return how long trials took by how they ended, and what their epochs spent it on."""
    seconds = {trial.number: trial_seconds(trial) for trial in record.trials}
    whole = sum(seconds.values())
    if whole == 0:
        return ""
    rows = []
    for state in STATE_WORDS:
        times = [seconds[trial.number] for trial in record.trials if trial.state.name == state]
        if sum(times) > 0:
            rows.append(
                [
                    state_in_words(state),
                    str(len(times)),
                    duration(sum(times)),
                    percent(sum(times) / whole),
                    duration(sum(times) / len(times)),
                ]
            )
    table = html_table(["Trials", "Number", "Time", "Share", "Mean"], rows, num_texts=1)
    return (
        f"<h2>What it cost</h2>{table}{phases_part(record, whole=whole)}"
        f'<p class="note">{escape(pruning_in_words(record.trials, seconds))}</p>'
    )


def phases_part(record: StudyRecord, *, whole: float) -> str:
    """Return the parts of the trials' epochs; empty where the runs' metrics were not read."""
    rows = [
        row for run, epochs in record.epochs.items() if run.startswith("trials/") for row in epochs
    ]
    if not rows:
        return ""
    spent = {words: summed(rows, name) for name, words in PHASES.items()}
    epochs = summed(rows, "seconds")
    spent["rest of the epochs"] = epochs - sum(spent.values())
    spent["scoring, checkpoints, start"] = whole - epochs
    cells = [
        [escape(words), duration(value), percent(value / whole)]
        for words, value in spent.items()
        if value > 0
    ]
    return html_table(["Spent on", "Time", "Share"], cells, num_texts=1)


def pruning_in_words(trials: Sequence[FrozenTrial], seconds: Mapping[int, float]) -> str:
    """Return what pruning saved, and what failures wasted."""
    times = {
        state: [seconds[trial.number] for trial in trials if trial.state.name == state]
        for state in ("COMPLETE", "PRUNED", "FAIL")
    }
    sentences = []
    if times["COMPLETE"] and times["PRUNED"]:
        mean = sum(times["COMPLETE"]) / len(times["COMPLETE"])
        saved = mean * len(times["PRUNED"]) - sum(times["PRUNED"])
        sentences.append(
            f"Had the {len(times['PRUNED'])} pruned trials run to their end, they would have taken "
            f"about {duration(max(0.0, saved))} longer."
        )
    if sum(times["FAIL"]) > 0:
        sentences.append(f"Failed trials wasted {duration(sum(times['FAIL']))}.")
    sentences.append("Times are from start to end; trials side by side count each.")
    return " ".join(sentences)


def trial_seconds(trial: FrozenTrial) -> float:
    """Return how long a trial took; 0 for one that has not ended."""
    return 0.0 if trial.duration is None else trial.duration.total_seconds()


def summed(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(row.get(name, 0.0) for row in rows)
