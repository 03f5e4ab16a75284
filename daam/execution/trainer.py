"""Data-parallel workers under Ray Train: gloo on CPUs, NCCL on GPUs, over any number of nodes."""

import os
import shlex
from collections.abc import Callable, Iterable
from typing import Any

import ray
import ray.train
from ray.exceptions import RayError, RayTaskError
from ray.train import FailureConfig, ScalingConfig
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from daam.config.load import run_config
from daam.config.schema import RunConfig
from daam.errors import DaamError, TrainingError
from daam.execution.environment import RAY_ENVIRONMENT
from daam.runs.worker import portable, read_reports, resumed_run, train_in
from daam.storage import open_store


class Driver:
    """A process of Ray's that drives a run's workers, so that this one can stop at any moment.

    `TorchTrainer.fit` ends with its run alone. A thread that is inside of it when this process
    leaves the cluster makes Ray end the process at once, with no message and code 1.
    """

    def __init__(self, run: ray.ObjectRef, *, folder_uri: str) -> None:
        self._run = run
        self._folder_uri = folder_uri

    def has_ended(self, *, within_s: float) -> bool:
        """Wait for the end of the run; whether it came."""
        return bool(ray.wait([self._run], timeout=within_s)[0])

    def result(self) -> None:
        """Raise what the run failed with.

        Raises:
            TrainingError: as for `train_on_workers`, or the driving process was killed.
        """
        try:
            failure = ray.get(self._run)
        except RayTaskError:
            raise
        except RayError as error:
            again = "give the same command again"
            if read_reports(open_store(self._folder_uri)):
                again = (
                    "go on from the last checkpoint: daam train --resume "
                    f"{shlex.quote(self._folder_uri)}"
                )
            raise TrainingError(
                "the process that drives the workers was killed or could not be started "
                f"({type(error).__name__}); mend the cause (too little memory?) and {again}"
            ) from error
        if failure is not None:
            raise failure


def start_driver(config: RunConfig, folder_uri: str, *, scratch: str) -> Driver:
    """Train a run on Ray workers, driven by a process of its own.

    The workers end when this process leaves the cluster. The arguments are those of
    `train_on_workers`.
    """
    here = ray.get_runtime_context().get_node_id()
    options: dict[str, Any] = {
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)
    }
    if not is_own_cluster():  # one that was started here has this process's environment
        read_by_ray_train = {
            name: value
            for name, value in os.environ.items()
            if name in RAY_ENVIRONMENT or name.startswith("RAY_TRAIN_")
        }
        options["runtime_env"] = {"env_vars": read_by_ray_train}
    drive = ray.remote(num_cpus=0, max_retries=0)(drive_run).options(**options)
    run = drive.remote(portable(config).model_dump(), folder_uri, scratch)
    return Driver(run, folder_uri=folder_uri)


def drive_run(settings: dict[str, Any], folder_uri: str, scratch: str) -> DaamError | None:
    """Train a run; return what it failed with, if it did."""
    try:
        train_on_workers(run_config(settings), folder_uri, scratch=scratch)
    except DaamError as error:
        return error
    return None


def train_on_workers(config: RunConfig, folder_uri: str, *, scratch: str) -> None:
    """Train a run on `compute.num_workers` Ray workers and wait for its end.

    A worker that dies takes its group with it; the group starts again, from the run's last
    checkpoint, up to `compute.max_failures` times.

    Args:
        config: of the run.
        folder_uri: the run's folder, on storage that every node reaches.
        scratch: local folder for Ray Train's own state.

    Raises:
        TrainingError: the run failed more often than it may, or the cluster is too small.
    """
    run_workers(
        train_worker,
        {"config": portable(config).model_dump(), "folder": folder_uri},
        num_workers=config.compute.num_workers,
        use_gpu=wants_gpu(config),
        max_failures=config.compute.max_failures,
        scratch=scratch,
    )


def train_worker(settings: dict[str, Any]) -> None:
    """Run on every Ray worker; rank 0 stores the reports and the checkpoints."""
    config = run_config(settings["config"], where="the run's settings")
    folder = open_store(settings["folder"])
    forward(train_in(folder, resumed_run(config, folder)))


def forward(reports: Iterable[dict[str, float]]) -> None:
    """Hand every epoch's metrics to Ray Train."""
    for metrics in reports:
        ray.train.report(metrics)


def run_workers(
    worker: Callable[[dict[str, Any]], None],
    settings: dict[str, Any],
    *,
    num_workers: int,
    use_gpu: bool,
    max_failures: int,
    scratch: str,
    callbacks: list[Any] | None = None,
) -> None:
    """Run a function on a group of Ray Train workers.

    Raises:
        TrainingError: as for `train_on_workers`.
    """
    check_size(num_workers, use_gpu=use_gpu)
    trainer = TorchTrainer(
        worker,
        train_loop_config=settings,
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
        run_config=RayRunConfig(
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=max_failures),
            callbacks=callbacks,
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        cause = "; ".join(
            f"rank {rank}: {type(failure).__name__}: {failure}"
            for rank, failure in getattr(error, "worker_failures", {}).items()
        )
        raise TrainingError(
            f"training failed on its workers after {max_failures} restarts "
            f"({cause or error}); mend the cause and go on from the last checkpoint with "
            "--resume FOLDER"
        ) from error


def is_own_cluster() -> bool:
    """Whether the cluster in use is on this machine's loopback alone."""
    return ray.get_runtime_context().gcs_address.startswith("127.")


def wants_gpu(config: RunConfig) -> bool:
    """Whether the run's workers get a GPU each."""
    if config.compute.device == "auto":
        return ray.cluster_resources().get("GPU", 0) >= 1
    return config.compute.device == "cuda"


def check_size(num_workers: int, *, use_gpu: bool) -> None:
    """Refuse a worker group that the cluster on this machine could never start.

    A cluster of several machines may grow when more is asked of it, and is not refused anything.

    Raises:
        TrainingError: this machine has fewer processors than there are workers.
    """
    if not is_own_cluster():
        return
    kind = "GPU" if use_gpu else "CPU"
    have = int(ray.cluster_resources().get(kind, 0))
    if have < num_workers:
        raise TrainingError(
            f"{num_workers} workers need {num_workers} {kind}s and the cluster has {have}; "
            "use fewer workers, or a larger cluster"
        )
