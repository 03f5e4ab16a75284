"""Which parameters are tried next, and which trials are stopped early.

Floats are rounded to three significant digits, so that "the same parameters" means something; no
combination is tried twice.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from tune.proposals.space import Dimension, combinations, rounded, rounded_within, suggest
from tune.settings import StudySettings

MAX_DRAWS = 50


class RoundedTPE(TPESampler):
    """Optuna's TPE sampler, with floats rounded to three significant digits.

    Args:
        seed: of its draws.
        settings: Optuna's.
    """

    def __init__(self, *, seed: int, **settings: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(seed=seed, **settings)
        self._seed = seed
        self._settings = settings

    def for_trial(self, number: int) -> "RoundedTPE":
        """Return the sampler that draws one trial, the same after a restart of the study."""
        seed = np.random.SeedSequence((self._seed, number)).generate_state(1)[0]
        return RoundedTPE(seed=int(seed), **self._settings)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample the settings that the study already knows, together."""
        sampled = super().sample_relative(study, trial, search_space)
        return {path: rounded_within(search_space[path], value) for path, value in sampled.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample one setting on its own."""
        value = super().sample_independent(study, trial, param_name, param_distribution)
        return rounded_within(param_distribution, value)


def sampler_for(settings: StudySettings, space: Sequence[Dimension]) -> RoundedTPE:
    """Return the sampler of a study.

    It models the settings jointly (those with a condition in groups that occur together), and takes
    running trials for bad ones, so that trials that run side by side differ.
    """
    return RoundedTPE(
        n_startup_trials=settings.num_startup_trials,
        multivariate=True,
        group=any(dimension.when for dimension in space),
        constant_liar=True,
        seed=settings.seed,
    )


def pruner_for(settings: StudySettings, *, num_epochs: int) -> BasePruner:
    """Return the rule that stops trials early; a trial has `num_epochs` over all its transfers."""
    first_step = min(max(1, settings.num_startup_epochs), num_epochs)
    if settings.pruner == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first_step, reduction_factor=3)
    if settings.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=first_step, max_resource=num_epochs, reduction_factor=3
        )
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=settings.num_startup_trials,
            n_warmup_steps=settings.num_startup_epochs,
        )
    return optuna.pruners.NopPruner()


def untried(study: optuna.Study, space: Sequence[Dimension]) -> dict[str, Any] | None:
    """Return parameters that no trial has had; None if every combination has been tried.

    The sampler draws in a copy of the study until it draws something new. The study itself never
    holds a trial twice. What is drawn depends on the trials so far and on their number, not on the
    process: a study that was interrupted goes on as if it had not been.
    """
    trials = study.get_trials(deepcopy=False)
    tried = {identity_of(trial.params) for trial in trials}
    sampler = study.sampler
    if isinstance(sampler, RoundedTPE):
        sampler = sampler.for_trial(len(trials))
    copy = optuna.create_study(
        study_name=study.study_name,
        directions=study.directions,
        sampler=sampler,
        pruner=study.pruner,
    )
    copy.add_trials(trials)
    for _ in range(MAX_DRAWS):
        trial = copy.ask()
        suggest(trial, space)
        if identity_of(trial.params) not in tried:
            return trial.params
    return next((found for found in combinations(space) if identity_of(found) not in tried), None)


def identity_of(parameters: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """Return what is equal for equal parameters, whatever the last digit of a float."""
    return frozenset(
        (path, rounded(value, digits=12) if isinstance(value, float) else value)
        for path, value in parameters.items()
    )
