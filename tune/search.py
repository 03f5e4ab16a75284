"""Connects Optuna, which proposes trials, to Ray Tune, which runs them.

The Optuna study is the only record of the trials and their states. Ray's own Optuna searcher marks
every trial that has a result as COMPLETE. Here a trial that is stopped early becomes PRUNED, one
that fails FAIL, and an interrupted one stays RUNNING: the next process resumes it with its number,
its parameters and its checkpoints.
"""

import logging
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tune.launching import EPOCH, FAILURE, LAST_EPOCH, OF_TRANSFER, SCORE, NotSaved

logger = logging.getLogger(__name__)


class OptunaSearcher(NotSaved, Searcher):
    """Supplies Ray Tune with the trials of an Optuna study.

    Args:
        study: has a storage that outlives this process.
        space: Optuna's distributions by dotted path.
        num_trials: total of the study, finished trials included.
        saved: called after every change to the study.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: dict[str, BaseDistribution],
        *,
        num_trials: int,
        saved: Callable[[], None],
    ) -> None:
        super().__init__(metric=SCORE, mode="max")
        self.study = study
        self.space = space
        self.saved = saved
        trials = study.get_trials(deepcopy=False)
        self.num_left = num_trials - sum(trial.state.is_finished() for trial in trials)
        self.interrupted = [
            # Optuna has no public way to resume a trial.
            optuna.Trial(study, trial._trial_id)
            for trial in trials
            if trial.state == TrialState.RUNNING
        ]
        self.running: dict[str, optuna.Trial] = {}
        self.stopped_early: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """Return the number and the parameters of the next trial."""
        if self.num_left <= 0:
            return Searcher.FINISHED
        self.num_left -= 1
        trial = self.interrupted.pop(0) if self.interrupted else self.study.ask(self.space)
        self.running[trial_id] = trial
        self.saved()
        return {"number": trial.number, "parameters": dict(trial.params)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: the scheduler, which runs first, records every result."""

    def record(
        self, trial_id: str, *, epoch: int, score: float | None, scores: dict[str, float]
    ) -> bool:
        """Record a trial's score after an epoch; return whether Optuna's pruner would stop it."""
        if score is None:
            return False
        trial = self.running[trial_id]
        trial.set_user_attr("scores", scores)
        if epoch not in self.study._storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(score, epoch)
        return trial.should_prune()

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002  (Ray's signature)
    ) -> None:
        """Record the final state of a trial in the study."""
        trial = self.running.pop(trial_id, None)
        if trial is None:
            return
        if trial_id in self.stopped_early:
            self.study.tell(trial, state=TrialState.PRUNED)
        elif result is not None and FAILURE in result:
            trial.set_user_attr(FAILURE, result[FAILURE])
            self.study.tell(trial, state=TrialState.FAIL)
        elif error:
            self.study.tell(trial, state=TrialState.FAIL)
        elif result is not None and result.get(EPOCH) == result.get(LAST_EPOCH):
            self.study.tell(trial, result[SCORE])
        else:
            logger.info("trial %d was interrupted; it can be resumed with --resume", trial.number)
        self.saved()

    def best(self) -> float | None:
        """Return the best score of a complete trial, or None if there is none."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return max((trial.values[0] for trial in complete), default=None)

    def state_of(self, number: int) -> str:
        """Return the state of a trial in the study: COMPLETE, PRUNED, FAIL or RUNNING."""
        return self.study.get_trials(deepcopy=False)[number].state.name

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study has its own storage."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a study resumes with a new searcher over the same storage."""


class OptunaPruning(NotSaved, FIFOScheduler):
    """Stops the trials that Optuna's pruner would prune.

    A trial is never stopped after its last epoch: then it is complete.
    """

    def __init__(self, searcher: OptunaSearcher) -> None:
        super().__init__()
        self.searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """Record a result and decide whether its trial continues."""
        if FAILURE in result:
            return TrialScheduler.CONTINUE
        prunable = self.searcher.record(
            trial.trial_id,
            epoch=result[EPOCH],
            score=result[SCORE],
            scores={
                key.removeprefix(OF_TRANSFER): value
                for key, value in result.items()
                if key.startswith(OF_TRANSFER)
            },
        )
        if prunable and result[EPOCH] < result[LAST_EPOCH]:
            self.searcher.stopped_early.add(trial.trial_id)
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE
