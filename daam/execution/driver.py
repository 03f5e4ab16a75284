"""A run on Ray workers, driven by a process of its own, so that this one can stop at any moment.

`TorchTrainer.fit` returns only when its run ends. A thread inside it while this process disconnects
makes Ray end the process at once, without a message and with code 1.
"""

import logging
import os
import shlex
from collections.abc import Generator
from typing import Any

import ray
import ray.train
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from daam.config.agreement import usable_workers
from daam.config.load import run_config
from daam.config.schema import RunConfig
from daam.errors import DaamError, TrainingError
from daam.execution.connection import connected, require_reachable
from daam.execution.environment import RAY_ENVIRONMENT
from daam.execution.metrics import observed
from daam.execution.names import job_metadata
from daam.execution.trainer import run_workers, wants_gpu
from daam.runs.attempts import attempt_keys, read_attempt
from daam.runs.run_folder import read_reports
from daam.runs.worker import train_run
from daam.storage import Store, open_store
from daam.storage.scratch import scratch_folder
from daam.training import collectives

POLL_S = 1.0

log = logging.getLogger(__name__)


def train_on_ray(
    folder: Store, config: RunConfig, *, stages: Store | None = None, address: str
) -> Generator[dict[str, Any], None, None]:
    """Train on Ray workers; yield each epoch's metrics as they appear in the run's folder.

    A worker that dies takes its group with it; the group starts again, from the run's last
    checkpoint, up to `compute.max_failures` times. The workers end when this process disconnects.

    Raises:
        TrainingError: the run failed more often than it may, the cluster is too small, or the
            driving process was killed.
    """
    done = len(read_reports(folder))
    with (
        # Its last writers are killed, not waited for, when the connection ends before the run.
        scratch_folder() as scratch,
        connected(
            address=address,
            job=job_metadata(f"train {folder.name}", transfers=[config.transfer]),
        ),
    ):
        places = {"data.root": config.data.root, "--storage": folder.uri}
        if stages is not None:
            places["--stages"] = stages.uri
        require_reachable(places)
        restarts = Restarts(folder, most=config.compute.num_workers)
        run = start_driver(folder, config, stages=stages, scratch=str(scratch))
        has_ended = False
        while not has_ended:
            has_ended = bool(ray.wait([run], timeout=POLL_S)[0])
            rows = read_reports(folder)
            if len(rows) > done:
                restarts.say()
            yield from rows[done:]
            done = max(done, len(rows))
        raise_failure(run, folder)


class Restarts:
    """Says when the workers of a run have been started again, from what the run's folder says."""

    def __init__(self, folder: Store, *, most: int) -> None:
        self._folder = folder
        self._most = most
        self._seen = set(attempt_keys(folder))
        self._num_workers: int | None = None  # of the last attempt

    def say(self) -> None:
        """Log a line for each attempt that is new, but for the first."""
        for key in attempt_keys(self._folder):
            if key in self._seen:
                continue
            self._seen.add(key)
            attempt = read_attempt(self._folder, key)
            now, before = attempt.num_workers or self._most, self._num_workers
            if before is not None:
                # One that was lost may have been replaced, or another have nothing to do.
                cause = "The workers were started again"
                if now != before:
                    cause = "There is room for more" if now > before else "A worker was lost"
                log.warning(
                    "%s: %d of %d workers train from epoch %d on",
                    cause,
                    now,
                    self._most,
                    (attempt.epoch or 0) + 1,
                )
            self._num_workers = now


def start_driver(
    folder: Store, config: RunConfig, *, stages: Store | None, scratch: str
) -> ray.ObjectRef:
    """Start the driving process on this node; the result is what `drive_run` returns."""
    here = ray.get_runtime_context().get_node_id()
    read_by_ray_train = {
        name: value
        for name, value in os.environ.items()
        if name in RAY_ENVIRONMENT or name.startswith("RAY_TRAIN_")
    }
    drive = ray.remote(num_cpus=0, max_retries=0)(drive_run).options(
        name=f"train {folder.name}",
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        runtime_env={"env_vars": read_by_ray_train},
    )
    settings = {
        "config": config.model_dump(),
        "folder": folder.uri,
        "stages": None if stages is None else stages.uri,
    }
    return drive.remote(settings, scratch)


def drive_run(settings: dict[str, Any], scratch: str) -> DaamError | None:
    """Train a run on its workers; return the error it failed with, if it did."""
    config = run_config(settings["config"], where="the run's settings")
    least, most = config.compute.min_workers, config.compute.num_workers
    try:
        run_workers(
            train_worker,
            settings,
            num_workers=(least, most) if 0 < least < most else most,
            use_gpu=wants_gpu(config),
            max_failures=config.compute.max_failures,
            scratch=scratch,
            name=f"train {open_store(settings['folder']).name}",
        )
    except DaamError as error:
        return error
    return None


def train_worker(settings: dict[str, Any]) -> None:
    """Run on every Ray worker; rank 0 stores the reports and the checkpoints."""
    config = run_config(settings["config"], where="the run's settings")
    num_workers = usable_workers(config, num_started=collectives.num_ranks())
    if not collectives.keep_first(num_workers):
        return
    stages, folder = settings["stages"], open_store(settings["folder"])
    epochs = train_run(folder, config, stages=None if stages is None else open_store(stages))
    # Nothing is reported to Ray Train: it would wait for the workers that are not used.
    for _ in observed(epochs, config, study="train", run=folder.name):
        pass


def raise_failure(run: ray.ObjectRef, folder: Store) -> None:
    """Raise the error a driven run ended with, if any.

    Raises:
        TrainingError: as for `train_on_ray`.
    """
    try:
        failure = ray.get(run)
    except RayTaskError:
        raise
    except RayError as error:
        again = "give the same command again"
        if read_reports(folder):
            again = (
                f"resume from the last checkpoint: daam train --resume {shlex.quote(folder.uri)}"
            )
        raise TrainingError(
            "the process that drives the workers was killed or could not be started "
            f"({type(error).__name__}); fix the cause (too little memory?) and {again}"
        ) from error
    if failure is not None:
        raise failure
