"""The final comparison, on a transfer whose target no trial has seen.

All contenders train with the same budget. Each is tested once on the query and gallery of the
target, after its training.
"""

import json
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback

from daam.config.load import merged, read_preset, run_config, with_settings
from daam.config.schema import RunConfig
from daam.errors import StudyError, StudyInterruptedError
from daam.execution.metrics import label_process
from daam.execution.trainer import report_to_ray, run_workers, wants_gpu
from daam.inference.unlabelled import assessed
from daam.runs.run_folder import SCORES
from daam.runs.worker import Test, measured, train_and_test
from daam.storage import MissingKeyError, Store, open_store
from tune.launching import (
    failure_of_trial,
    failure_reasons,
    failure_reported,
    report_epochs,
    tuner_for,
)
from tune.settings import StudyConfig
from tune.watch import StudyWatch, WatchCallback

SOURCE_ONLY, DEFAULT, TUNED = "source-only", "default", "tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One side of the final comparison with its scores, as in `scores.json`."""

    name: str
    config: RunConfig
    scores: dict[str, Any]


def contender_configs(config: StudyConfig, best: RunConfig) -> dict[str, RunConfig]:
    """Return the settings of each contender on the holdout transfer, nothing held out."""
    common = {
        "transfer": config.final_transfer,
        "evaluation.hold_out": False,
        "compute.num_workers": config.study.workers_per_trial,
    }
    source_only = run_config(merged(config.run.model_dump(), read_preset("source_only")))
    return {
        SOURCE_ONLY: with_settings(source_only, common),
        DEFAULT: with_settings(config.run, common),
        TUNED: with_settings(best, common),
    }


def run_holdout(
    config: StudyConfig, best: RunConfig, folder: Store, *, scratch: Path, watch: StudyWatch
) -> list[Contender]:
    """Train and test the contenders; skip those that have been tested.

    Raises:
        StudyError: a contender failed.
        StudyInterruptedError: Ctrl-C stopped it.
    """
    configs = contender_configs(config, best)
    folders = {name: folder.child(f"holdout/{name}") for name in configs}
    pending = [name for name in configs if not folders[name].exists(SCORES)]
    watch.phase(
        f"holdout {config.final_transfer}",
        num_runs=len(configs),
        num_done=len(configs) - len(pending),
        best=None,
    )
    if pending:
        plan = {
            name: {
                "config": configs[name].model_dump(),
                "folder": folders[name].uri,
                "scratch": str(scratch),
                "is_measured": config.is_measured,
            }
            for name in pending
        }
        tuner = tuner_for(
            partial(run_contender, plan=plan),
            config=configs[DEFAULT],
            param_space={"name": ray.tune.grid_search(pending)},
            scratch=scratch / "holdout",
            callbacks=[
                WatchCallback(
                    watch,
                    name_of=lambda trial: trial.config["name"],
                    state_of=lambda trial: "FAIL" if failure_of_trial(trial) else "COMPLETE",
                    reason_of=failure_of_trial,
                )
            ],
            max_concurrent=config.study.concurrent_trials,
            max_failures=config.run.compute.max_failures,
        )
        reasons = failure_reasons(tuner.fit())
        if reasons:
            raise StudyError(f"the final comparison failed: {reasons}")
    return read_contenders(configs, folder)


def read_contenders(configs: dict[str, RunConfig], folder: Store) -> list[Contender]:
    """Return the contenders with their scores.

    Raises:
        StudyInterruptedError: one has not been tested yet.
    """
    try:
        return [
            Contender(
                name=name,
                config=config,
                scores=json.loads(folder.read(f"holdout/{name}/{SCORES}")),
            )
            for name, config in configs.items()
        ]
    except MissingKeyError as error:
        raise StudyInterruptedError(
            "the study was stopped in its final comparison; resume with: "
            f"daam tune --resume {shlex.quote(folder.uri)}"
        ) from error


def is_finished(folder: Store) -> bool:
    """Whether every contender of a study has its scores, so that nothing is left to run."""
    return all(folder.exists(f"holdout/{name}/{SCORES}") for name in (SOURCE_ONLY, DEFAULT, TUNED))


def run_contender(sample: dict[str, Any], *, plan: dict[str, dict[str, Any]]) -> None:
    """Run a contender under Ray Tune: in this process, or on a group of Ray Train workers."""
    settings = {**plan[sample["name"]], "name": sample["name"]}
    config = run_config(settings["config"], where="the contender's settings")
    if config.compute.num_workers == 1:
        report_epochs(
            train_and_test(open_store(settings["folder"]), config, test_of(settings)),
            name=sample["name"],
            num_epochs=config.optimiser.num_epochs,
        )
        return
    with failure_reported(num_epochs=config.optimiser.num_epochs):
        run_workers(
            contender_worker,
            settings,
            num_workers=config.compute.num_workers,
            use_gpu=wants_gpu(config),
            max_failures=config.compute.max_failures,
            scratch=settings["scratch"],
            callbacks=[TuneReportCallback()],
        )


def test_of(settings: dict[str, Any]) -> Test:
    """Return the test of a contender: with the labels of a holdout, or without any."""
    return measured if settings["is_measured"] else assessed


def contender_worker(settings: dict[str, Any]) -> None:
    """Run on every Ray Train worker of a contender."""
    config = run_config(settings["config"], where="the contender's settings")
    label_process(settings["name"])
    report_to_ray(train_and_test(open_store(settings["folder"]), config, test_of(settings)))
