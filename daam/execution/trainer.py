"""Data-parallel workers under Ray Train: gloo on CPUs, NCCL on GPUs, over any number of nodes."""

import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import ray
import ray.train
import ray.util
from ray.train import FailureConfig, ScalingConfig
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)

from daam.config.schema import RunConfig
from daam.errors import DaamError, StorageError, TrainingError, WorkersError
from daam.training import collectives

LOOK_FOR_ROOM_EVERY_S = 30.0  # growing costs the epoch that is under way


class Workers(TorchTrainer):
    """Ray Train's group without two processes that it starts beside each, and that have no work.

    One hands out Ray's own data sets, of which there are none. The other frees what the group had
    if its controller dies; that dies with the job, whose end frees it.
    """

    def _create_default_callbacks(self) -> list[Any]:
        idle = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [
            callback
            for callback in super()._create_default_callbacks()
            if not isinstance(callback, idle)
        ]


def run_workers(
    worker: Callable[[dict[str, Any]], None],
    settings: dict[str, Any],
    *,
    num_workers: int | tuple[int, int],
    use_gpu: bool,
    max_failures: int,
    scratch: str,
    name: str,
    callbacks: list[Any] | None = None,
) -> None:
    """Run a function on a group of Ray Train workers and wait for its end.

    Args:
        worker: called with the settings in every worker.
        settings: plain values.
        num_workers: in the group, or the fewest and the most: then it is as large as the cluster
            allows, goes on with fewer workers when it loses some, and grows when there is room for
            more.
        use_gpu: whether each gets a GPU.
        max_failures: times the group is started again after losing a worker.
        scratch: local folder for Ray Train's own state.
        name: of the run, in Ray Train's logs and metrics.
        callbacks: Ray Train's.

    Raises:
        WorkersError: workers died or lost their store more often than the run may restart them.
        TrainingError: the run itself fails, or the cluster is too small.
    """
    least = num_workers if isinstance(num_workers, int) else num_workers[0]
    check_size(least, use_gpu=use_gpu)
    trainer = Workers(
        worker,
        train_loop_config=settings,
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=use_gpu,
            elastic_resize_monitor_interval_s=LOOK_FOR_ROOM_EVERY_S,
        ),
        run_config=RayRunConfig(
            # Ray Train would resume a run of the same name by itself.
            name=f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}-{secrets.token_hex(4)}",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=max_failures),
            callbacks=callbacks,
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        failures: dict[int, Exception] = getattr(error, "worker_failures", {})
        cause = "; ".join(
            f"rank {rank}: {type(failure).__name__}: {failure}"
            for rank, failure in failures.items()
        )
        is_its_own = any(
            isinstance(failure, DaamError) and not isinstance(failure, StorageError)
            for failure in failures.values()
        )
        raise (TrainingError if is_its_own else WorkersError)(
            f"training failed on its workers after {max_failures} restarts "
            f"({cause or error}); fix the cause and resume from the last checkpoint with "
            "--resume FOLDER"
        ) from error


def report_to_ray(epochs: Iterable[dict[str, Any]]) -> None:
    """Report every epoch's metrics to Ray Train, from inside a worker."""
    for metrics in epochs:
        ray.train.report(metrics)


def hosts_of_ranks() -> str:
    """Return the addresses of the hosts of all ranks, separated by commas. Collective."""
    addresses = collectives.from_all_ranks(ray.util.get_node_ip_address())
    return ",".join(dict.fromkeys(addresses))


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

    A cluster of several machines may scale up on demand, so nothing is refused there.

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
