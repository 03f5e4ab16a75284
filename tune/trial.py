"""One trial: trains all its transfers epoch by epoch and reports one score per epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback

from daam.config.load import run_config, with_settings
from daam.config.schema import RunConfig
from daam.errors import NonFiniteLossError
from daam.execution.metrics import label_process, trial_gauges
from daam.execution.trainer import report_to_ray, run_workers, wants_gpu
from daam.runs.worker import train_together
from daam.storage import open_store
from tune.launching import EPOCH, LAST_EPOCH, MAP, SCORE, failed, failure_reported, report_epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """Settings shared by all trials of a search: plain values, sent to each trial once."""

    study_uri: str
    run: dict[str, Any]
    transfers: tuple[str, ...]
    aggregate: str
    num_workers: int
    scratch: str


def trial_name(number: int) -> str:
    """Return the name of a trial in the dashboard, the progress table and the study's folder."""
    return f"trial-{number:04d}"


def run_trial(sample: dict[str, Any], *, plan: TrialPlan) -> None:
    """Run a trial under Ray Tune: in this process, or on a group of Ray Train workers.

    Args:
        sample: `number` and `parameters` of an Optuna trial.
        plan: shared by all trials of the search.
    """
    settings = {**asdict(plan), **sample}
    num_epochs = plan.run["optimiser"]["num_epochs"]
    if plan.num_workers == 1:
        report_epochs(
            trial_epochs(settings), name=trial_name(sample["number"]), num_epochs=num_epochs
        )
        return
    with failure_reported(num_epochs=num_epochs):
        config = trial_config(settings, plan.transfers[0])
        run_workers(
            trial_worker,
            settings,
            num_workers=plan.num_workers,
            use_gpu=wants_gpu(config),
            max_failures=config.compute.max_failures,
            scratch=plan.scratch,
            callbacks=[TuneReportCallback()],
        )


def trial_worker(settings: dict[str, Any]) -> None:
    """Run on every Ray Train worker of a trial; rank 0's reports become the trial's."""
    label_process(trial_name(settings["number"]))
    try:
        report_to_ray(trial_epochs(settings))
    except NonFiniteLossError as error:  # raised by every rank in the same epoch
        num_epochs = settings["run"]["optimiser"]["num_epochs"]
        report_to_ray([failed(error, num_epochs=num_epochs)])


def trial_epochs(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Train all transfers of a trial in lockstep; yield the metrics of each epoch."""
    transfers = settings["transfers"]
    folder = open_store(settings["study_uri"]).child(f"trials/{trial_name(settings['number'])}")
    configs = [trial_config(settings, transfer) for transfer in transfers]
    runs = [
        (folder.child(transfer.replace("->", "-")), config)
        for transfer, config in zip(transfers, configs, strict=True)
    ]
    gauges = trial_gauges(trial_name(settings["number"]))
    for rows in train_together(runs):
        scores = {transfer: row["mAP"] for transfer, row in zip(transfers, rows, strict=True)}
        metrics = {
            EPOCH: int(rows[0]["epoch"]),
            LAST_EPOCH: configs[0].optimiser.num_epochs,
            SCORE: aggregate(scores, how=settings["aggregate"]),
            **{f"{MAP}{transfer}": value for transfer, value in scores.items()},
            **{
                f"rank-1/{transfer}": row["rank-1"]
                for transfer, row in zip(transfers, rows, strict=True)
            },
        }
        gauges(epoch=metrics[EPOCH], score=metrics[SCORE])
        yield metrics


def trial_config(settings: dict[str, Any], transfer: str) -> RunConfig:
    """Return the settings of one transfer: the study's, overridden by the trial's parameters.

    The target's validation identities are held out of training, since they give the score.
    """
    return with_settings(
        run_config(settings["run"], where="the study's settings"),
        {
            **settings["parameters"],
            "transfer": transfer,
            "evaluation.hold_out": True,
            "compute.num_workers": settings["num_workers"],
        },
    )


def aggregate(scores: Mapping[str, float], *, how: str) -> float:
    """Return the mean or the worst of the transfers' scores."""
    return min(scores.values()) if how == "worst" else fmean(scores.values())
