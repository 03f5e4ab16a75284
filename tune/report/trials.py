"""What a report says of single trials: scores, reasons, names of settings."""

import math
from collections.abc import Sequence
from statistics import median

from optuna.trial import FrozenTrial, TrialState

from daam.plots.page import percent
from tune.events import FAILURE

RUNG = "completed_rung_"  # of Optuna's successive halving
STATE_COLOURS = {
    "COMPLETE": "var(--series-1)",
    "PRUNED": "var(--series-5)",
    "FAIL": "var(--series-2)",
    "RUNNING": "var(--series-3)",
    "WAITING": "var(--pale)",
}
STATE_WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


def final_score(trial: FrozenTrial) -> float | None:
    """Return the score of a complete trial; None for any other.

    Optuna calls the last score of a trial that was stopped early its value, too.
    """
    return trial.values[0] if trial.state == TrialState.COMPLETE and trial.values else None


def last_score(trial: FrozenTrial) -> float | None:
    """Return the score of a trial, or the one after its last epoch; None before its first."""
    score = final_score(trial)
    if score is not None or not trial.intermediate_values:
        return score
    return trial.intermediate_values[max(trial.intermediate_values)]


def training_seconds(trial: FrozenTrial) -> float | None:
    """Return the seconds that a complete trial trained; None if its study does not count them."""
    is_counted = trial.state == TrialState.COMPLETE and len(trial.values or ()) > 1
    return trial.values[1] if is_counted else None


def front_of(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that no other beats in both score and seconds, the quickest first."""
    found: list[FrozenTrial] = []
    counted = [trial for trial in trials if training_seconds(trial) is not None]
    for trial in sorted(counted, key=lambda trial: (trial.values[1], -trial.values[0])):
        if not found or trial.values[0] > found[-1].values[0]:
            found.append(trial)
    return found


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the complete trial with the best score, the first of equal ones."""
    scored = [trial for trial in trials if final_score(trial) is not None]
    return max(scored, key=lambda trial: final_score(trial) or 0.0, default=None)


def ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return complete trials, the best first, then the others in order."""

    def place(trial: FrozenTrial) -> tuple[bool, float, int]:
        score = final_score(trial)
        return score is None, -(score or 0.0), trial.number

    return sorted(trials, key=place)


def why_ended(trial: FrozenTrial, trials: Sequence[FrozenTrial], *, pruner: str) -> str:
    """Return why a trial was pruned or failed, in a sentence without its full stop.

    Args:
        trial: pruned or failed.
        trials: of the study.
        pruner: `study.pruner`.
    """
    if trial.state == TrialState.FAIL:
        return trial.user_attrs.get(FAILURE) or "its process died"
    if not trial.intermediate_values:
        return "stopped before its first score"
    step = max(trial.intermediate_values)
    if pruner == "median":
        own = max(value for value in trial.intermediate_values.values() if not math.isnan(value))
        others = complete_scores_at(step, trial, trials)
        if others and own < median(others):
            return (
                f"at epoch {step} its best score was {percent(own)}, below "
                f"{percent(median(others))}, the median of the {len(others)} complete trials"
            )
    rungs = [attribute for attribute in trial.system_attrs if attribute.startswith(RUNG)]
    if rungs:
        return (
            f"at epoch {step}, rung {len(rungs)} of successive halving, its score of "
            f"{percent(trial.intermediate_values[step])} was not among the best third"
        )
    return f"behind the others at epoch {step}, with {percent(trial.intermediate_values[step])}"


def complete_scores_at(step: int, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[float]:
    """Return the scores at a step of the trials that were complete when another ended."""
    return [
        other.intermediate_values[step]
        for other in trials
        if final_score(other) is not None
        and step in other.intermediate_values
        and ended_before(other, trial)
    ]


def ended_before(trial: FrozenTrial, other: FrozenTrial) -> bool:
    """Whether a trial had ended when another did."""
    if trial.datetime_complete is None or other.datetime_complete is None:
        return False
    return trial.datetime_complete <= other.datetime_complete


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the last parts of dotted paths, as many as tell them apart and at least two."""
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


def state_in_words(state: str) -> str:
    """Return a state as HTML, with a dot in its colour."""
    return (
        f'<span class="state" style="--state: {STATE_COLOURS[state]}">{STATE_WORDS[state]}</span>'
    )
