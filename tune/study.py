"""A study: the search, the race between its best trials, then the final comparison.

All state is in the study's folder: a process that dies loses at most the epochs in progress.
"""

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import TrialState

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.errors import ConfigError, StudyError, StudyInterruptedError, StudyPausedError
from daam.execution.trainer import check_size, wants_gpu
from daam.runs.run_folder import portable
from daam.storage import Store, open_store
from daam.storage.scratch import scratch_folder
from tune.budget import CostMeter, cost_of
from tune.contenders.final import Contender, are_tested, run_contenders
from tune.contenders.racing import Race
from tune.contenders.repeats import race_trials, racers, read_race
from tune.events import FAILURE
from tune.folder.folder import how_to_resume, open_study
from tune.folder.journal_file import JOURNAL
from tune.search.launching import tuner_for
from tune.search.searcher import EXHAUSTED, SET_ASIDE, OptunaPruning, OptunaSearcher, num_finished
from tune.search.trial import run_trial, trial_name, trial_plan
from tune.search.watch import StudyWatch, WatchCallback
from tune.settings import StudyConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """The outcome of a study."""

    config: StudyConfig
    trials: list[optuna.trial.FrozenTrial]
    race: Race | None
    best: RunConfig
    best_trial: int
    contenders: list[Contender]


def run_study(config: StudyConfig, folder: Store, *, watch: StudyWatch) -> StudyResult:
    """Search, race the best trials, then train and test the contenders.

    Ray must be connected. Work that the folder already holds is not repeated.

    Raises:
        StudyInterruptedError: Ctrl-C stopped it.
        StudyPausedError: trials fail for reasons outside of them.
        StudyError: no trial finished, or a contender failed.
    """
    with scratch_folder() as scratch:
        study, publish = open_study(folder, config, scratch=scratch)
        enqueue_starts(config, study)
        search(config, folder, study, publish=publish, scratch=scratch, watch=watch)
        trials = study.get_trials()
        race = race_trials(config, trials, folder, scratch=scratch, watch=watch)
        delete_checkpoints(folder)
        best_trial = best_of(study) if race is None else trials[race.winner]
        best = with_settings(config.run, best_trial.params)
        contenders = run_contenders(config, best, folder, scratch=scratch, watch=watch)
        return StudyResult(
            config=config,
            trials=trials,
            race=race,
            best=with_settings(
                best, {"transfer": config.final_transfer or config.study.search_transfers[0]}
            ),
            best_trial=best_trial.number,
            contenders=contenders,
        )


def portable_study(config: StudyConfig) -> StudyConfig:
    """Return the settings with local paths made absolute, for processes in another folder.

    Raises:
        ConfigError, StorageError: a path or address in the settings is wrong.
    """
    study = config.study
    if study.stages:
        study = study.model_copy(update={"stages": open_store(study.stages).uri})
    return config.model_copy(update={"study": study, "run": portable(config.run)})


def best_of(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """Return the complete trial with the best score; with two objectives, too."""
    return max(study.best_trials, key=lambda trial: trial.values[0])


def enqueue_starts(config: StudyConfig, study: optuna.Study) -> None:
    """Queue the default settings and the user's starting points, unless the study has them."""
    for parameters in config.starting_points()[: config.study.num_trials or None]:
        study.enqueue_trial(parameters, skip_if_exists=True)


def search(
    config: StudyConfig,
    folder: Store,
    study: optuna.Study,
    *,
    publish: Callable[[], None],
    scratch: Path,
    watch: StudyWatch,
) -> None:
    """Run the remaining trials.

    Raises:
        StudyInterruptedError: Ctrl-C stopped it.
        StudyPausedError: trials fail for reasons outside of them.
        StudyError: no trial finished.
        TrainingError: the cluster is too small for the workers of one trial.
    """
    is_over = is_search_over(config, study)  # then there need be no cluster to ask
    use_gpu = not is_over and wants_gpu(config.run)
    budget = config.time_budget()
    if budget is not None and budget.is_of_gpus and not (use_gpu or is_over):
        raise ConfigError(
            f"study.budget = {config.study.budget!r}, and trials train on CPUs here; give it in "
            "hours, as in 4h"
        )
    meter = CostMeter(study, gpus_per_trial=config.study.workers_per_trial if use_gpu else 0)
    searcher = OptunaSearcher(
        study,
        config.space(),
        num_trials=config.study.num_trials,
        meter=meter,
        budget=budget,
        max_interrupted=config.study.max_interrupted,
        saved=publish,
    )
    watch.phase(
        "search",
        num_runs=config.study.num_trials,
        num_done=num_finished(study),
        best=searcher.best(),
        budget_s=(
            None if budget is None or budget.is_of_gpus else budget.seconds - meter.cost.seconds
        ),
    )
    if not is_over:
        check_size(config.study.workers_per_trial, use_gpu=use_gpu)
        plan = trial_plan(config, folder, scratch=scratch / "train")
        tuner = tuner_for(
            partial(run_trial, plan=plan),
            study=config.study.name,
            name_of=lambda sample: trial_name(sample["number"]),
            config=config.run,
            scratch=scratch / "search",
            callbacks=[
                WatchCallback(
                    watch,
                    name_of=lambda trial: trial_name(trial.config["number"]),
                    state_of=lambda trial: searcher.state_of(trial.config["number"]),
                    reason_of=lambda trial: searcher.reason_of(trial.config["number"]),
                    max_restarts=config.run.compute.max_failures,
                )
            ],
            max_concurrent=config.study.concurrent_trials,
            max_failures=config.run.compute.max_failures,
            searcher=searcher,
            scheduler=OptunaPruning(searcher),
            num_samples=-1,
        )
        tuner.fit()
    if EXHAUSTED in study.user_attrs:
        logger.warning(
            "the search ends after %d trials: every combination of [search] has been tried",
            num_finished(study),
        )
    check_finished(config, folder, study, paused=searcher.paused)


def delete_checkpoints(folder: Store) -> None:
    """Delete those of the search and of the race, which nothing reads any more."""
    for key in (*folder.list("trials/"), *folder.list("race/")):
        if "/checkpoints/" in key:
            folder.delete(key)


def check_finished(
    config: StudyConfig, folder: Store, study: optuna.Study, *, paused: str = ""
) -> None:
    """Raise if the search was interrupted or has paused, or if no trial is complete."""
    trials = study.get_trials(deepcopy=False)
    limit = f" of {config.study.num_trials}" if config.study.num_trials else ""
    after = f"after {num_finished(study)}{limit} trials"
    if paused:
        raise StudyPausedError(
            f"the study paused {after}, those "
            f"that failed stay open: {paused}; once that is fixed, {how_to_resume(folder)}"
        )
    if not is_search_over(config, study):
        raise StudyInterruptedError(f"the study was stopped {after}; {how_to_resume(folder)}")
    if not any(trial.state == TrialState.COMPLETE for trial in trials):
        raise StudyError(
            f"no trial of {folder.uri} finished: {ends_of(trials)}; fix the cause and run more: "
            f"daam tune --resume {shlex.quote(folder.uri)} --trials {num_finished(study) + 1}"
        )


def is_finished(config: StudyConfig, folder: Store) -> bool:
    """Whether nothing is left to train, so that only the report is written again."""
    if not folder.exists(JOURNAL):
        return False
    with scratch_folder() as scratch:
        study, _ = open_study(folder, config, scratch=scratch)
        if not is_search_over(config, study):
            return False
        check_finished(config, folder, study)
        trials, race = study.get_trials(), None
        if racers(config, trials):
            race = read_race(config, trials, folder)
            if race is None:
                return False
        best_trial = best_of(study) if race is None else trials[race.winner]
        return are_tested(config, with_settings(config.run, best_trial.params), folder)


def is_search_over(config: StudyConfig, study: optuna.Study) -> bool:
    """Whether all trials have finished, or all that began and no further one may begin."""
    if config.study.num_trials and num_finished(study) >= config.study.num_trials:
        return True
    budget = config.time_budget()
    is_spent = budget is not None and budget.is_spent(cost_of(study))
    open_trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return not open_trials and (is_spent or EXHAUSTED in study.user_attrs)


def ends_of(trials: list[optuna.trial.FrozenTrial]) -> str:
    """Return in words how trials that are not complete ended, with each reason once."""
    num_set_aside = sum(SET_ASIDE in trial.user_attrs for trial in trials)
    failed = [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL and SET_ASIDE not in trial.user_attrs
    ]
    num_pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    reasons = dict.fromkeys(trial.user_attrs.get(FAILURE) or "its process died" for trial in failed)
    ends = [f"{len(failed)} failed ({'; '.join(reasons)})"] if failed else []
    ends += [f"{num_pruned} stopped early"] if num_pruned else []
    ends += [f"{num_set_aside} set aside"] if num_set_aside else []
    return ", ".join(ends)
