"""How much of the scores' variance each setting explains, and how sure that is."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from tune.report.trials import final_score

NUM_RESAMPLES, NUM_TREES = 16, 8
MIN_TRIALS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Share of the variance that a setting explains, from 0 to 1.

    Args:
        path: of the setting.
        mean: over the resampled sets of trials.
        low: their 10th percentile.
        high: their 90th percentile.
    """

    path: str
    mean: float
    low: float
    high: float


def importances(
    trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution]
) -> list[Importance]:
    """Return the importance of each setting that all complete trials have, by fANOVA.

    The trials are resampled with replacement: the interval says how much the answer hangs on the
    trials that happened to be drawn. Empty with fewer than four complete trials or with equal
    scores.

    Args:
        trials: of the study.
        space: what is searched, by path; it may be wider than when old trials were drawn.
    """
    scored = [(trial, score) for trial in trials if (score := final_score(trial)) is not None]
    if len(scored) < MIN_TRIALS or len({score for _, score in scored}) < 2:
        return []
    common = [path for path in space if all(path in trial.params for trial, _ in scored)]
    shared = [
        create_trial(
            params={path: trial.params[path] for path in common},
            distributions={path: space[path] for path in common},
            value=score,
        )
        for trial, score in scored
    ]
    generator = random.Random(0)
    found: dict[str, list[float]] = {}
    for number in range(NUM_RESAMPLES):
        drawn = generator.choices(shared, k=len(shared))
        if len({trial.value for trial in drawn}) < 2:
            continue
        for path, value in fanova(drawn, seed=number).items():
            found.setdefault(path, []).append(value)
    return [
        Importance(
            path=path,
            mean=fmean(values),
            low=float(sorted(values)[round(0.1 * (len(values) - 1))]),
            high=float(sorted(values)[round(0.9 * (len(values) - 1))]),
        )
        for path, values in found.items()
    ]


def fanova(trials: Sequence[FrozenTrial], *, seed: int) -> dict[str, float]:
    """Return the importances in one set of trials."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    evaluator = FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=seed)
    return get_param_importances(study, evaluator=evaluator)
