"""One trial: trains its transfers one after another and reports a score per epoch."""

from collections.abc import Collection, Generator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback

from daam.config.load import run_config, with_settings
from daam.config.schema import RunConfig
from daam.errors import NonFiniteLossError
from daam.execution.metrics import observed
from daam.execution.names import process_named
from daam.execution.trainer import hosts_of_ranks, report_to_ray, run_workers, wants_gpu
from daam.inference.unlabelled import RANKING_SCORE, label_free_scoring
from daam.runs.run_folder import REPEATS
from daam.runs.worker import REPORTED_BEFORE, Scoring, train_scored, validation_scoring
from daam.storage import Store, open_store
from tune.search.launching import (
    EPOCH,
    LAST_EPOCH,
    OF_TRANSFER,
    SCORE,
    TRAINING_S,
    Trained,
    failed,
    failure_reported,
    located,
    report_epochs,
    trained_as_rank,
    trained_here,
    trains_here,
)
from tune.settings import LABEL_FREE, TRANSFER, VALIDATION, StudyConfig

SCORINGS: dict[str, tuple[Scoring, str]] = {
    VALIDATION: (validation_scoring, "mAP"),
    TRANSFER: (validation_scoring, "mAP"),
    LABEL_FREE: (label_free_scoring, RANKING_SCORE),
}
"""By `study.score`: how runs are scored, and the metric that is a transfer's score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """Settings shared by all trials of a search: plain values, sent to each trial once."""

    study: str
    study_uri: str
    stages_uri: str
    run: dict[str, Any]
    transfers: tuple[str, ...]
    score: str
    aggregate: str
    num_workers: int
    scratch: str


def trial_plan(config: StudyConfig, folder: Store, *, scratch: Path) -> TrialPlan:
    """Return what the trials of a study share.

    Args:
        config: of the study.
        folder: of the study.
        scratch: a local folder.
    """
    return TrialPlan(
        study=config.study.name,
        study_uri=folder.uri,
        stages_uri=config.stages_in(folder).uri,
        run=config.run.model_dump(),
        transfers=tuple(config.study.search_transfers),
        score=config.study.score,
        aggregate=config.study.aggregate,
        num_workers=config.study.workers_per_trial,
        scratch=str(scratch),
    )


def trial_name(number: int, *, seed: int | None = None) -> str:
    """Return the name of a trial in the dashboard, the progress table and the study's folder.

    Args:
        number: of the trial.
        seed: of the run that repeats it; None for the search's.
    """
    return f"trial-{number:04d}" + ("" if seed is None else f"-seed-{seed}")


def run_trial(sample: dict[str, Any], *, plan: TrialPlan) -> None:
    """Run a trial under Ray Tune: in this process, beside it, or on a group of Ray Train workers.

    Args:
        sample: `number` and `parameters` of an Optuna trial, and a `seed` to repeat it with.
        plan: shared by all trials of the search.
    """
    settings = {**asdict(plan), **sample}
    num_epochs = plan.run["optimiser"]["num_epochs"]
    if trains_here(plan.num_workers):
        epochs = located(trial_epochs(settings, trained_here), hosts=hosts_of_ranks())
        report_epochs(epochs, num_epochs=num_epochs)
        return
    name = f"{plan.study}/{name_of(settings)}"
    with failure_reported(num_epochs=num_epochs), process_named(f"{name} (waits for its workers)"):
        config = trial_config(settings, plan.transfers[0])
        run_workers(
            trial_worker,
            settings,
            num_workers=plan.num_workers,
            use_gpu=wants_gpu(config),
            max_failures=config.compute.max_failures,
            scratch=plan.scratch,
            name=name,
            callbacks=[TuneReportCallback()],
        )


def name_of(settings: dict[str, Any]) -> str:
    """Return the name of a trial from its settings."""
    return trial_name(settings["number"], seed=settings.get("seed"))


def trial_worker(settings: dict[str, Any]) -> None:
    """Run on every Ray Train worker of a trial; rank 0's reports become the trial's."""
    try:
        report_to_ray(located(trial_epochs(settings, trained_as_rank), hosts=hosts_of_ranks()))
    except NonFiniteLossError as error:  # raised by every rank in the same epoch
        num_epochs = settings["run"]["optimiser"]["num_epochs"]
        report_to_ray([failed(error, num_epochs=num_epochs)])


def trial_epochs(
    settings: dict[str, Any], trained: Trained
) -> Generator[dict[str, Any], None, None]:
    """Train the transfers of a trial one after another; yield the metrics of each epoch.

    Epochs are counted through: a trial that is stopped early never begins the later transfers. The
    score combines the transfers so far; it is None after epochs that are not scored.
    """
    transfers = settings["transfers"]
    part = "trials" if settings.get("seed") is None else "race"
    folder = open_store(settings["study_uri"]).child(f"{part}/{name_of(settings)}")
    stages = open_store(settings["stages_uri"])
    scoring, metric = SCORINGS[settings["score"]]
    scores: dict[str, float] = {}
    training_s = 0.0
    for position, transfer in enumerate(transfers):
        config = trial_config(settings, transfer)
        run = folder.child(transfer.replace("->", "-"))
        work = partial(train_scored, run, config, scoring, stages=stages)
        epochs = observed(
            trained(work, config),
            config,
            study=settings["study"],
            run=name_of(settings),
            score=metric,
        )
        for row in epochs:
            training_s += row["seconds"]
            metrics = {
                EPOCH: position * config.num_epochs + int(row["epoch"]),
                LAST_EPOCH: len(transfers) * config.num_epochs,
                SCORE: None,
                TRAINING_S: training_s,
                **{key: row[key] for key in (REPEATS, REPORTED_BEFORE) if key in row},
            }
            if metric in row:
                scores[transfer] = row[metric]
                metrics[SCORE] = aggregate(scores.values(), how=settings["aggregate"])
                metrics |= {f"{OF_TRANSFER}{name}": value for name, value in scores.items()}
            yield metrics


def trial_config(settings: dict[str, Any], transfer: str) -> RunConfig:
    """Return the settings of one transfer: the study's, overridden by the trial's parameters.

    Where the target's validation identities give the score, they are held out of training.
    """
    return with_settings(
        run_config(settings["run"], where="the study's settings"),
        {
            **settings["parameters"],
            "seed": settings.get("seed", settings["run"]["seed"]),
            "transfer": transfer,
            "evaluation.hold_out": settings["score"] != LABEL_FREE,
            "compute.num_workers": settings["num_workers"],
        },
    )


def aggregate(scores: Collection[float], *, how: str) -> float:
    """Return the mean or the worst of the transfers' scores."""
    return min(scores) if how == "worst" else fmean(scores)
