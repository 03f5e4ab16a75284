"""The section of the report about cost: where the time of the trials went."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from optuna.trial import FrozenTrial

from daam.plots.page import duration, html_table, percent
from daam.runs.stages import REUSED, stage_savings
from tune.report.record import StudyRecord
from tune.report.trials import STATE_WORDS, state_in_words

PHASES = ("labels", "steps", "diagnostics")
PARTS = {"trials": "search", "race": "race", "holdout": "final comparison"}
"""Name by the folder of the runs in the study's."""


def cost_section(record: StudyRecord) -> str:
    """Return how long trials took by how they ended, and what training spent the time on."""
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
        f'<h2>What it cost</h2>{table}<p class="note">'
        f"{escape(pruning_in_words(record.trials, seconds))}</p>{training_part(record)}"
    )


def training_part(record: StudyRecord) -> str:
    """Return what the epochs of all runs took, and what shared source stages saved.

    Empty where the runs' metrics were not read, as while the study runs.
    """
    rows, total = [], 0.0
    for folder, name in PARTS.items():
        runs = [epochs for run, epochs in record.epochs.items() if run.startswith(f"{folder}/")]
        trained = [row for epochs in runs for row in epochs if REUSED not in row]
        if not trained:
            continue
        savings = stage_savings(runs)
        spent = [summed(trained, f"seconds/{phase}") for phase in PHASES]
        whole = summed(trained, "seconds")
        total += whole
        rows.append(
            [
                name,
                str(len(runs)),
                *map(duration, [whole, *spent, whole - sum(spent)]),
                str(savings.num_reused),
                duration(savings.seconds_saved),
            ]
        )
    if not rows:
        return ""
    header = ["Training", "Runs", "Time", *PHASES, "other", "Stages reused", "Saved"]
    table = html_table(header, rows, num_texts=1, kind="sticky")
    return f'{table}<p class="note">{escape(savings_in_words(record, total=total))}</p>'


def savings_in_words(record: StudyRecord, *, total: float) -> str:
    """Return how much shared source stages have saved, of what all training took."""
    own = [epochs for run, epochs in record.epochs.items() if run.partition("/")[0] in PARTS]
    savings = stage_savings(own)
    words = "Time of the epochs alone, without start-up and scoring."
    if savings.num_reused == 0:
        return f"{words} No run found its source stage trained already."
    factor = (total + savings.seconds_saved) / total
    return (
        f"{words} Runs that need the same source stage train it once: {savings.num_trained} were "
        f"trained here and {savings.num_reused} runs took one over, which saved "
        f"{duration(savings.seconds_saved)}. Without, training would have taken {factor:.1f} times "
        "as long."
    )


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
