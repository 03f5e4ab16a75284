"""Runs the race of a study: its best trials again, with other seeds.

race/trial-0003-seed-2/     a repeated trial, as trials/trial-0003/ is its first run
race.json                   the race, once it is over
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray.tune
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter
from ray.tune import Result

from daam.documents import MalformedError, parse_json
from daam.errors import StudyError, StudyInterruptedError, StudyPausedError
from daam.storage import MissingKeyError, Store
from tune.contenders.racing import Race, run_race
from tune.events import FAILURE
from tune.folder.folder import how_to_resume
from tune.search.faults import reason_of
from tune.search.launching import (
    EPOCH,
    IS_OUTSIDE,
    LAST_EPOCH,
    OF_TRANSFER,
    failure_of_trial,
    tuner_for,
)
from tune.search.trial import TrialPlan, run_trial, trial_name, trial_plan
from tune.search.watch import StudyWatch, WatchCallback
from tune.settings import StudyConfig

RACE = "race.json"

# A study of few trials gets more from another trial than from a repeated one.
TRIALS_PER_RACER, MAX_RACERS = 6, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRace:
    """A race in its file, and what decided it."""

    began_with: dict[str, Any]
    race: Race


STORED_RACE = TypeAdapter(StoredRace)


def race_trials(
    config: StudyConfig,
    trials: Sequence[FrozenTrial],
    folder: Store,
    *,
    scratch: Path,
    watch: StudyWatch,
) -> Race | None:
    """Race the best trials of a search; None if the study has no race.

    A race that is over is only read. One that was interrupted is run again: its finished runs give
    their scores at once, the others resume.

    Raises:
        StudyInterruptedError: Ctrl-C stopped it.
        StudyPausedError: a trial failed for a reason outside of it.
    """
    first = racers(config, trials)
    if not first:
        return None
    race = read_race(config, trials, folder)
    if race is None:
        race = run_race(
            first,
            config.seeds(config.study.race_seeds),
            repeat=Repeats(
                config=config,
                folder=folder,
                parameters={number: trials[number].params for number in first},
                scratch=scratch,
                watch=watch,
            ),
            how=config.study.aggregate,
        )
        stored = StoredRace(began_with=began_with(config, first), race=race)
        folder.write(RACE, json.dumps(asdict(stored), indent=1).encode())
    return race


def read_race(config: StudyConfig, trials: Sequence[FrozenTrial], folder: Store) -> Race | None:
    """Return the race between the best trials; None if it is not over, or was of other ones."""
    first = racers(config, trials)
    try:
        stored = parse_json(folder.read_document(RACE), STORED_RACE)
        if stored.began_with != began_with(config, first):
            return None
        check_race(stored.race, first)
    except MissingKeyError:
        return None
    except MalformedError as error:
        raise StudyError(
            f"{folder.locate(RACE)} is damaged ({error}); delete it, and resume the study to race "
            "again: runs that have finished are not repeated"
        ) from error
    return stored.race


def check_race(race: Race, first: Collection[int]) -> None:
    """Check that a stored race is one of these trials.

    Raises:
        MalformedError: it names others, or leaves some out.
    """
    named = {race.winner, *(out.trial for out in race.dropouts)}
    if not (race.scores.keys() == race.means.keys() == set(first) and named <= set(first)):
        raise MalformedError("its trials are not those that it began with")


def racers(config: StudyConfig, trials: Sequence[FrozenTrial]) -> dict[int, dict[str, float]]:
    """Return the scores by transfer of the best trials, best first; empty if there is no race."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: (-trial.values[0], trial.number))
    limit = config.study.race_trials
    best = best[: min(MAX_RACERS, len(trials) // TRIALS_PER_RACER) if limit == "auto" else limit]
    if len(best) < 2 or config.study.race_seeds < 2:
        return {}
    # Of a study that went on with fewer transfers, older trials have scores on others, too.
    return {
        trial.number: {
            transfer: trial.user_attrs["scores"][transfer]
            for transfer in config.study.search_transfers
        }
        for trial in best
    }


def began_with(config: StudyConfig, first: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Return what decides a race, as plain values: a race of anything else does not count."""
    return {
        "scores": {str(trial): dict(scores) for trial, scores in first.items()},
        "seeds": config.seeds(config.study.race_seeds),
        "aggregate": config.study.aggregate,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Trains trials of a search again, with another seed, on all search transfers."""

    config: StudyConfig
    folder: Store
    parameters: dict[int, dict[str, Any]]
    scratch: Path
    watch: StudyWatch

    def __call__(self, seed: int, trials: Sequence[int]) -> dict[int, dict[str, float] | str]:
        """Return each trial's scores by transfer, or why it failed."""
        self.watch.phase(f"race, seed {seed}", num_runs=len(trials), num_done=0, best=None)
        tuner = tuner_for(
            partial(
                repeat_trial,
                seed=seed,
                parameters=self.parameters,
                plan=trial_plan(self.config, self.folder, scratch=self.scratch / "train"),
            ),
            study=self.config.study.name,
            name_of=lambda sample: trial_name(sample["number"], seed=seed),
            config=self.config.run,
            param_space={"number": ray.tune.grid_search(list(trials))},
            scratch=self.scratch / f"race-seed-{seed}",
            callbacks=[
                WatchCallback(
                    self.watch,
                    name_of=lambda trial: trial_name(trial.config["number"], seed=seed),
                    state_of=lambda trial: "FAIL" if failure_of_trial(trial) else "COMPLETE",
                    reason_of=failure_of_trial,
                    max_restarts=self.config.run.compute.max_failures,
                )
            ],
            max_concurrent=self.config.study.concurrent_trials,
            max_failures=self.config.run.compute.max_failures,
        )
        results = tuner.fit()
        found = {(result.config or {})["number"]: self.scores(result) for result in results}
        return {trial: found[trial] for trial in trials}

    def scores(self, result: Result) -> dict[str, float] | str:
        """Return the scores of a run that has ended by itself."""
        metrics = result.metrics or {}
        reason = metrics[FAILURE] if metrics.get(IS_OUTSIDE) else ""
        if result.error is not None:
            reason = reason_of(result.error)
        if reason:
            raise StudyPausedError(
                f"the study paused in its race: {reason}; once that is fixed, "
                f"{how_to_resume(self.folder)}"
            )
        if FAILURE in metrics:
            return metrics[FAILURE]
        if EPOCH not in metrics or metrics[EPOCH] < metrics[LAST_EPOCH]:
            raise StudyInterruptedError(
                f"the study was stopped in its race; {how_to_resume(self.folder)}"
            )
        return {
            transfer: metrics[f"{OF_TRANSFER}{transfer}"]
            for transfer in self.config.study.search_transfers
        }


def repeat_trial(
    sample: dict[str, Any],
    *,
    seed: int,
    parameters: Mapping[int, dict[str, Any]],
    plan: TrialPlan,
) -> None:
    """Run a trial again under Ray Tune, with another seed."""
    number = sample["number"]
    run_trial({"number": number, "parameters": parameters[number], "seed": seed}, plan=plan)
