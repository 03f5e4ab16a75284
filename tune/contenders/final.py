"""The final comparison: the contenders, each trained with several seeds.

It is made on the holdout, a transfer whose target no trial has seen; without one on the transfer
that the settings are for, whose target is assessed without labels. All contenders train with the
same budget and the same seeds. A run is tested once, after its training.

holdout/NAME/seed-S/     a run's folder: settings, checkpoints, reports, scores
"""

import shlex
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback

from daam.config.load import merged, read_preset, run_config, to_toml, with_settings
from daam.config.schema import RunConfig
from daam.errors import EvaluationError, StudyError, StudyInterruptedError
from daam.execution.metrics import observed
from daam.execution.names import process_named
from daam.execution.trainer import hosts_of_ranks, report_to_ray, run_workers, wants_gpu
from daam.inference.unlabelled import assessed
from daam.runs.results import read_scores
from daam.runs.run_folder import CONFIG, SCORES, open_run
from daam.runs.worker import measured, train_and_test
from daam.storage import MissingKeyError, Store, open_store
from tune.folder.folder import how_to_resume
from tune.search.launching import (
    Trained,
    failure_of_trial,
    failure_reasons,
    failure_reported,
    located,
    report_epochs,
    trained_as_rank,
    trained_here,
    trains_here,
    tuner_for,
)
from tune.search.watch import StudyWatch, WatchCallback
from tune.settings import StudyConfig

SOURCE_ONLY, DEFAULT, TUNED = "source-only", "default", "tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One side of the final comparison.

    Attributes:
        name: `source-only`, `default` or `tuned`.
        config: settings of its first run; the others differ by their seed.
        scores: by seed, the content of the run's `scores.json`.
        same_as: the contender whose runs these are, because its settings are the same; None if the
            contender was trained.
    """

    name: str
    config: RunConfig
    scores: dict[int, dict[str, Any]]
    same_as: str | None = None


def contender_configs(config: StudyConfig, best: RunConfig) -> dict[str, RunConfig]:
    """Return the settings of each contender on the final transfer, nothing held out.

    There are none if the study has no such transfer.
    """
    if not config.final_transfer:
        return {}
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


def run_contenders(
    config: StudyConfig, best: RunConfig, folder: Store, *, scratch: Path, watch: StudyWatch
) -> list[Contender]:
    """Train and test the contenders, if there is a transfer for it; skip runs that were tested.

    Raises:
        StudyError: a run failed.
        StudyInterruptedError: Ctrl-C stopped it.
    """
    runs = runs_of(contender_configs(config, best), config.seeds(config.study.contender_seeds))
    if not runs:
        return []
    pending = [name for name, run in runs.items() if not is_tested(run_folder(folder, name), run)]
    watch.phase(
        f"comparison on {config.final_transfer}",
        num_runs=len(runs),
        num_done=len(runs) - len(pending),
        best=None,
    )
    if pending:
        for name in pending:
            prepare(run_folder(folder, name), runs[name])
        plan = {
            name: {
                "study": config.study.name,
                "config": runs[name].model_dump(),
                "folder": run_folder(folder, name).uri,
                "stages": config.stages_in(folder).uri,
                "scratch": str(scratch),
                "is_measured": config.is_measured,
            }
            for name in pending
        }
        tuner = tuner_for(
            partial(run_contender, plan=plan),
            study=config.study.name,
            name_of=lambda sample: sample["name"],
            config=runs[pending[0]],
            param_space={"name": ray.tune.grid_search(pending)},
            scratch=scratch / "holdout",
            callbacks=[
                WatchCallback(
                    watch,
                    name_of=lambda trial: trial.config["name"],
                    state_of=lambda trial: "FAIL" if failure_of_trial(trial) else "COMPLETE",
                    reason_of=failure_of_trial,
                    max_restarts=config.run.compute.max_failures,
                )
            ],
            max_concurrent=config.study.concurrent_trials,
            max_failures=config.run.compute.max_failures,
        )
        reasons = failure_reasons(tuner.fit())
        if reasons:
            raise StudyError(
                f"the final comparison failed: {reasons}; once that is fixed, "
                f"{how_to_resume(folder)}"
            )
    return read_contenders(config, best, folder)


def read_contenders(config: StudyConfig, best: RunConfig, folder: Store) -> list[Contender]:
    """Return the contenders with the scores of all their runs.

    Raises:
        StudyInterruptedError: one has not been tested yet.
    """
    configs = contender_configs(config, best)
    trained = trained_as(configs)
    seeds = config.seeds(config.study.contender_seeds)
    try:
        return [
            Contender(
                name=name,
                config=with_settings(configs[name], {"seed": seeds[0]}),
                scores={
                    seed: scores_of(
                        run_folder(folder, run_name(trained[name], seed)),
                        is_measured=config.is_measured,
                    )
                    for seed in seeds
                },
                same_as=None if trained[name] == name else trained[name],
            )
            for name in configs
        ]
    except MissingKeyError as error:
        raise StudyInterruptedError(
            "the study was stopped in its final comparison; resume with: "
            f"daam tune --resume {shlex.quote(folder.uri)}"
        ) from error


def scores_of(folder: Store, *, is_measured: bool) -> dict[str, Any]:
    """Return what the test of a run found.

    Raises:
        EvaluationError: the file is damaged, or of a test without labels where it had them, or the
            other way around.
    """
    kind, scores = read_scores(folder)
    if is_measured != (kind == "scores"):
        raise EvaluationError(
            f"{folder.locate(SCORES)} is of a test {'without' if is_measured else 'with'} labels; "
            "delete it, and resume the study to test that run again"
        )
    return scores


def are_tested(config: StudyConfig, best: RunConfig, folder: Store) -> bool:
    """Whether every run of the comparison has its scores, so that nothing is left to train."""
    seeds = config.seeds(config.study.contender_seeds)
    return all(
        is_tested(run_folder(folder, name), run)
        for name, run in runs_of(contender_configs(config, best), seeds).items()
    )


def runs_of(configs: dict[str, RunConfig], seeds: list[int]) -> dict[str, RunConfig]:
    """Return the settings of each run by its name, a contender after the other.

    Runs side by side then have different seeds, and so different source stages: none waits for the
    stage that another is training. The next contender finds the stages finished.
    """
    return {
        run_name(name, seed): with_settings(configs[name], {"seed": seed})
        for name, trained in trained_as(configs).items()
        if trained == name
        for seed in seeds
    }


def trained_as(configs: dict[str, RunConfig]) -> dict[str, str]:
    """Map each contender to the first one with the same settings, itself or an earlier one."""
    return {
        name: next(other for other in configs if configs[other] == config)
        for name, config in configs.items()
    }


def run_name(name: str, seed: int) -> str:
    """Return the name of a contender's run, which is also its folder's below `holdout`."""
    return f"{name}/seed-{seed}"


def run_folder(folder: Store, name: str) -> Store:
    """Return the folder of a contender's run in a study's folder."""
    return folder.child(f"holdout/{name}")


def is_tested(folder: Store, config: RunConfig) -> bool:
    """Whether a run has been tested that was trained with these settings."""
    return folder.exists(SCORES) and has_settings(folder, config)


def has_settings(folder: Store, config: RunConfig) -> bool:
    """Whether the run in a folder was started with these settings."""
    return folder.exists(CONFIG) and open_run(folder) == config


def prepare(folder: Store, config: RunConfig) -> None:
    """Make a run's folder; delete a run with other settings, as of an earlier best trial."""
    if not has_settings(folder, config):
        for key in folder.list():
            folder.delete(key)
        folder.write(CONFIG, to_toml(config).encode())


def run_contender(sample: dict[str, Any], *, plan: dict[str, dict[str, Any]]) -> None:
    """Run a contender's run under Ray Tune, in one of the ways of a trial."""
    settings = {**plan[sample["name"]], "name": sample["name"]}
    config = run_config(settings["config"], where="the contender's settings")
    if trains_here(config.compute.num_workers):
        report_epochs(
            located(contender_epochs(settings, config, trained_here), hosts=hosts_of_ranks()),
            num_epochs=config.optimiser.num_epochs,
        )
        return
    name = f"{settings['study']}/{settings['name']}"
    with (
        failure_reported(num_epochs=config.optimiser.num_epochs),
        process_named(f"{name} (waits for its workers)"),
    ):
        run_workers(
            contender_worker,
            settings,
            num_workers=config.compute.num_workers,
            use_gpu=wants_gpu(config),
            max_failures=config.compute.max_failures,
            scratch=settings["scratch"],
            name=name,
            callbacks=[TuneReportCallback()],
        )


def contender_epochs(
    settings: dict[str, Any], config: RunConfig, trained: Trained
) -> Generator[dict[str, Any], None, None]:
    """Train and test a contender's run, with the labels of a holdout or without any."""
    work = partial(
        train_and_test,
        open_store(settings["folder"]),
        config,
        measured if settings["is_measured"] else assessed,
        stages=open_store(settings["stages"]),
    )
    return observed(trained(work, config), config, study=settings["study"], run=settings["name"])


def contender_worker(settings: dict[str, Any]) -> None:
    """Run on every Ray Train worker of a contender's run."""
    config = run_config(settings["config"], where="the contender's settings")
    epochs = contender_epochs(settings, config, trained_as_rank)
    report_to_ray(located(epochs, hosts=hosts_of_ranks()))
