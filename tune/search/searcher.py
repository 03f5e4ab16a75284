"""Connects Optuna, which proposes trials, to Ray Tune, which runs them.

The Optuna study is the only record of the trials and their states. Ray's own Optuna searcher marks
every trial that has a result as COMPLETE. Here a trial that is stopped early becomes PRUNED, one
that fails FAIL, and an interrupted one stays RUNNING: it is resumed, by this process or the next,
with its number, its parameters and its checkpoints.

A trial that fails for a reason outside its parameters (disk, store, memory, machines) is
interrupted: it says nothing about them. Such a trial is resumed after those not yet begun. The
search pauses after `max_interrupted` such failures in a row. One that fails this often while others
finish has the reason in itself after all, and becomes FAIL.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from daam.errors import StorageError
from tune.budget import Budget, CostMeter
from tune.events import FAILURE
from tune.proposals.sampling import untried
from tune.proposals.space import Dimension, suggest
from tune.search.faults import last_error
from tune.search.launching import (
    EPOCH,
    IS_OUTSIDE,
    LAST_EPOCH,
    OF_TRANSFER,
    SCORE,
    TRAINING_S,
    NotSaved,
    failure_of,
)

INTERRUPTED = "INTERRUPTED"
EXHAUSTED = "exhausted"
"""The attribute of a study of which every combination has been tried."""
SET_ASIDE = "set_aside"
"""The attribute of a trial that does not count: why, see `tune.folder.resuming`."""


def num_finished(study: optuna.Study) -> int:
    """Return how many trials of a study have ended and count, in whatever state."""
    return sum(
        trial.state.is_finished() and SET_ASIDE not in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


class OptunaSearcher(NotSaved, Searcher):
    """Supplies Ray Tune with the trials of an Optuna study.

    Args:
        study: has a storage that outlives this process.
        space: what is searched.
        num_trials: total of the study, finished trials included; 0 for no limit.
        meter: counts what the search costs.
        budget: after which no further trial begins; None for no limit.
        max_interrupted: failures in a row, for reasons outside the trials, that pause the search.
        saved: called after every change to the study; if the store fails, the search pauses.

    Attributes:
        paused: why no more trials are started; empty if nothing is wrong.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Sequence[Dimension],
        *,
        num_trials: int,
        meter: CostMeter,
        budget: Budget | None,
        max_interrupted: int,
        saved: Callable[[], None],
    ) -> None:
        super().__init__(metric=SCORE, mode="max")
        self.study = study
        self.space = space
        self.max_interrupted = max_interrupted
        self.saved = saved
        self.paused = ""
        self.meter = meter
        self.budget = budget
        trials = study.get_trials(deepcopy=False)
        self.num_left = (num_trials or math.inf) - num_finished(study)
        self.interrupted = [
            # Optuna has no public way to resume a trial.
            optuna.Trial(study, trial._trial_id)
            for trial in trials
            if trial.state == TrialState.RUNNING
        ]
        self.running: dict[str, optuna.Trial] = {}
        self.stopped_early: set[str] = set()
        self.failed_here: list[optuna.Trial] = []
        self.failures: dict[str, tuple[str, bool]] = {}
        self.num_interruptions: Counter[int] = Counter()
        self.num_in_a_row = 0

    def suggest(self, trial_id: str) -> Any:
        """Return the number and the parameters of the next trial."""
        if self.paused:
            return Searcher.FINISHED
        self.meter.update(num_running=len(self.running))
        trial = self.next_trial()
        if trial is None and self.running:
            return None  # one of them may still fail and have to be resumed
        if trial is None:
            self.save_study()
            return Searcher.FINISHED
        self.num_left -= 1
        self.running[trial_id] = trial
        self.save_study()
        return {"number": trial.number, "parameters": dict(trial.params)}

    def next_trial(self) -> optuna.Trial | None:
        """Return a trial of an earlier process, a new one, or the first that was interrupted here.

        None if there is none. A budget that is spent ends no trial that has begun.
        """
        if self.interrupted and self.num_left > 0:
            return self.interrupted.pop(0)
        is_spent = self.budget is not None and self.budget.is_spent(self.meter.cost)
        if self.num_left > len(self.failed_here) and not is_spent and self.is_one_queued():
            trial = self.study.ask()
            suggest(trial, self.space)
            return trial
        return self.failed_here.pop(0) if self.failed_here else None

    def is_one_queued(self) -> bool:
        """Queue a new trial if none is; return False if every combination has been tried."""
        if EXHAUSTED in self.study.user_attrs:
            return False
        if not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            parameters = untried(self.study, self.space)
            if parameters is None:
                self.study.set_user_attr(EXHAUSTED, value=True)
                return False
            self.study.enqueue_trial(parameters)
        return True

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
        storage = self.study._storage
        is_new = epoch not in storage.get_trial(trial._trial_id).intermediate_values
        if len(self.study.directions) > 1:  # for which Optuna neither reports nor prunes
            if is_new:
                storage.set_trial_intermediate_value(trial._trial_id, epoch, score)
            return False
        if is_new:
            trial.report(score, epoch)
        return trial.should_prune()

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002  (Ray's signature)
    ) -> None:
        """Record the final state of a trial in the study."""
        self.meter.update(num_running=len(self.running))
        trial = self.running.pop(trial_id, None)
        if trial is None:
            return
        reason, is_outside = self.failures.pop(trial_id, ("its process died", True))
        if result is not None and FAILURE in result:
            reason, is_outside = result[FAILURE], result[IS_OUTSIDE]
            error = True
        if trial_id in self.stopped_early:
            self.end(trial, state=TrialState.PRUNED)
        elif error:
            trial.set_user_attr(FAILURE, reason)
            if is_outside:
                self.interrupt(trial, reason)
            else:
                self.end(trial, state=TrialState.FAIL)
        elif result is not None and result.get(EPOCH) == result.get(LAST_EPOCH):
            values = [result[SCORE], result.get(TRAINING_S)][: len(self.study.directions)]
            self.end(trial, state=TrialState.COMPLETE, values=values)
        self.save_study()  # also of a trial that Ctrl-C interrupts: the next process resumes it

    def end(
        self, trial: optuna.Trial, *, state: TrialState, values: list[Any] | None = None
    ) -> None:
        """Record what became of a trial: the surroundings let it end."""
        self.num_in_a_row = 0
        if state != TrialState.FAIL and FAILURE in trial.user_attrs:
            trial.set_user_attr(FAILURE, None)  # an earlier one, which it survived
        self.study.tell(trial, values, state=state)

    def interrupt(self, trial: optuna.Trial, reason: str) -> None:
        """Leave a trial open that failed for a reason outside its parameters."""
        self.num_in_a_row += 1
        self.num_interruptions[trial.number] += 1
        if self.num_in_a_row >= self.max_interrupted:
            self.paused = self.paused or reason
        elif self.num_interruptions[trial.number] >= self.max_interrupted:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        self.failed_here.append(trial)
        self.num_left += 1

    def note_failure(self, trial_id: str, error: Exception | None) -> None:
        """Keep the reason of an error before Ray says that the trial has ended."""
        if error is not None:
            self.failures[trial_id] = failure_of(error)

    def save_study(self) -> None:
        """Publish the study, and pause if its store fails."""
        self.meter.store()
        try:
            self.saved()
        except StorageError as error:
            self.paused = str(error)

    def best(self) -> float | None:
        """Return the best score of a complete trial, or None if there is none."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return max((trial.values[0] for trial in complete), default=None)

    def state_of(self, number: int) -> str:
        """Return the state of a trial that has ended: COMPLETE, PRUNED, FAIL or INTERRUPTED."""
        state = self.study.get_trials(deepcopy=False)[number].state
        return state.name if state.is_finished() else INTERRUPTED

    def reason_of(self, number: int) -> str:
        """Return why a trial failed or was interrupted; empty if it did not."""
        return self.study.get_trials(deepcopy=False)[number].user_attrs.get(FAILURE) or ""

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

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:
        """Note why a trial failed, whether Ray restarts it now or not."""
        self.searcher.note_failure(trial.trial_id, last_error(trial))

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
