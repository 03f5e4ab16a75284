"""How trials run on Ray Tune: resources, concurrency, restarts, failures."""

import re
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray.exceptions import RayError, RayTaskError
from ray.tune import Callback, FailureConfig, ResultGrid, TuneConfig, Tuner
from ray.tune import RunConfig as TuneRunConfig
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher

from daam.config.schema import RunConfig
from daam.errors import (
    CheckpointError,
    DaamError,
    ShardError,
    StorageError,
    WorkersError,
)
from daam.execution.trainer import wants_gpu
from daam.runs.ranks import RankLostError, Ranks, Work
from tune.events import FAILURE
from tune.search.actors import Slot, named_actor
from tune.search.faults import ATTEMPT, HOSTS, Hosts, last_error, reason_of

SCORE = "score"
TRAINING_S = "training_s"  # seconds of the epochs so far, without scoring and waiting
EPOCH = "epoch"
LAST_EPOCH = "num_epochs"
OF_TRANSFER = "score/"  # followed by a transfer
IS_OUTSIDE = "is_outside"  # whether that reason lies outside the run's settings
# Disk, store, memory, machines and stored files, which the settings of a run cannot change.
OUTSIDE = (
    *(StorageError, ShardError, CheckpointError, WorkersError, RankLostError),
    *(OSError, MemoryError, RayError),
)
WAITING_BYTES = 256 << 20

Trained = Callable[[Work, RunConfig], Generator[dict[str, Any], None, None]]
"""Trains a run in one of the ways there are; yields each epoch's metrics."""


class NotSaved:
    """Excluded from the state that Ray Tune saves, which is never read back."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "NotSaved":
        return self


def tuner_for(
    function: Callable[[dict[str, Any]], None],
    *,
    study: str,
    name_of: Callable[[dict[str, Any]], str],
    config: RunConfig,
    scratch: Path,
    callbacks: list[Callback],
    max_concurrent: int,
    max_failures: int,
    searcher: Searcher | None = None,
    param_space: dict[str, Any] | None = None,
    **search: Any,
) -> Tuner:
    """Build a Ray tuner that reuses the process of a finished trial for the next one.

    Ray's own state goes to the scratch folder; nothing is resumed from it.

    Args:
        function: runs one trial.
        study: its name.
        name_of: maps the function's argument to the trial's name in the study.
        config: settings of one trial, which determine its resources.
        scratch: a local folder.
        callbacks: receive every event.
        max_concurrent: trials at a time; 0 for as many as fit the cluster.
        max_failures: restarts per trial.
        searcher: suggests trials.
        param_space: grid to run instead of a searcher's suggestions.
        search: `scheduler`, `num_samples` of Ray's `TuneConfig`.
    """
    _keep_credentials_here()
    hosts = Hosts()
    limit = max_concurrent or max_concurrent_trials(config, hosts)
    limited = (
        BasicVariantGenerator(max_concurrent=limit)
        if searcher is None
        else ConcurrencyLimiter(searcher, max_concurrent=limit)
    )
    if not max_concurrent:
        callbacks = [*callbacks, AsManyAsFit(limited, config=config, hosts=hosts)]
    return Tuner(
        named_actor(
            ray.tune.with_resources(function, Slot(resources_of(config, hosts), study=study)),
            name_of=lambda sample: f"{study}/{name_of(sample)}",
        ),
        param_space=param_space,
        tune_config=TuneConfig(reuse_actors=True, search_alg=limited, **search),
        run_config=TuneRunConfig(
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=max_failures),
            callbacks=callbacks,
            verbose=0,
        ),
    )


def _keep_credentials_here() -> None:
    """Stop Ray Tune from sending this process's AWS keys with every trial.

    It would put them into the environment of each trial, which Ray logs and shows on its dashboard.
    Each machine has credentials of its own, as under Ray Train.
    """
    sent = class_cache.ENV_VARS_TO_PROPAGATE
    sent.difference_update({name for name in sent if name.startswith("AWS_")})


def resources_of(config: RunConfig, hosts: Hosts) -> dict[str, float]:
    """Return the resources of a trial's own process.

    That has the resources of all workers where a host is large enough for them: they are processes
    beside it there. Otherwise it waits for a group of Ray Train's, which gets them, and must
    reserve no CPU: holding back even a hundredth would keep workers that need all from starting.
    """
    num_workers = config.compute.num_workers
    kinds = kinds_of(config)
    if num_workers > 1 and hosts.num_groups(kinds, size=num_workers) == 0:
        return {"memory": WAITING_BYTES}
    return dict.fromkeys(kinds, num_workers)


def kinds_of(config: RunConfig) -> list[str]:
    """Return the kinds of resources of which a worker needs one each."""
    return ["CPU", "GPU"] if wants_gpu(config) else ["CPU"]


def trains_here(num_workers: int) -> bool:
    """Whether this process has the resources of its workers, see `resources_of`."""
    assigned = ray.get_runtime_context().get_assigned_resources()
    return num_workers == 1 or any(re.match(r"CPU(_group_|$)", name) for name in assigned)


@cache
def kept_ranks(num_workers: int, *, use_gpu: bool) -> Ranks:
    """Return the workers beside this process, which are started once, for all of its runs."""
    return Ranks(num_workers, use_gpu=use_gpu, num_threads=1)


def trained_here(work: Work, config: RunConfig) -> Generator[dict[str, Any], None, None]:
    """Train a run in this process, or on the workers beside it; yield each epoch's metrics."""
    if config.compute.num_workers == 1:
        return work()
    return kept_ranks(config.compute.num_workers, use_gpu=wants_gpu(config)).epochs(work)


def trained_as_rank(work: Work, _: RunConfig) -> Generator[dict[str, Any], None, None]:
    """Train a run in this process, which is a rank of a group of Ray Train's."""
    return work()


def max_concurrent_trials(config: RunConfig, hosts: Hosts) -> int:
    """Return how many trials fit the cluster at once, counting their workers."""
    kinds, size = kinds_of(config), config.compute.num_workers
    over_hosts = int(min(hosts.total(kind) // size for kind in kinds))
    return max(1, hosts.num_groups(kinds, size=size) or over_hosts)


class AsManyAsFit(NotSaved, Callback):
    """Lets as many trials run as fit the cluster now: hosts may join and leave during a search.

    Args:
        limited: what limits the number of trials.
        config: settings of one trial.
        hosts: of the cluster.
    """

    def __init__(
        self,
        limited: BasicVariantGenerator | ConcurrencyLimiter,
        *,
        config: RunConfig,
        hosts: Hosts,
    ) -> None:
        self.limited = limited
        self.config = config
        self.hosts = hosts

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Adapt the limit, which Ray Tune compares with the running trials at every step."""
        self.limited.max_concurrent = max_concurrent_trials(self.config, self.hosts)


def located(
    epochs: Iterable[dict[str, Any]], *, hosts: str
) -> Generator[dict[str, Any], None, None]:
    """Add the hosts that a run trains on to each epoch's metrics, and which attempt it is.

    A group of workers starts again without a word to the search: a new attempt shows it.
    """
    attempt = secrets.token_hex(4)
    for metrics in epochs:
        yield {**metrics, HOSTS: hosts, ATTEMPT: attempt}


def report_epochs(epochs: Generator[dict[str, Any], None, None], *, num_epochs: int) -> None:
    """Report each epoch's metrics to Ray Tune.

    It ends a trial with an exception here, and keeps that; so the epochs are closed explicitly, and
    the workers beside this process are free for the next trial.
    """
    with failure_reported(num_epochs=num_epochs), closing(epochs):
        for metrics in epochs:
            ray.tune.report(metrics)


@contextmanager
def failure_reported(*, num_epochs: int) -> Iterator[None]:
    """Turn an error whose reason is known into a last result that carries it.

    Ray restarts a run whose process died, or that raised anything else. These would fail the same
    way at once; reads and writes have been retried for long enough.
    """
    try:
        yield
    except (DaamError, OSError, MemoryError) as error:
        ray.tune.report(failed(error, num_epochs=num_epochs))


def failed(error: Exception, *, num_epochs: int) -> dict[str, Any]:
    """Return the last result of a failed run."""
    return {
        EPOCH: 0,
        LAST_EPOCH: num_epochs,
        SCORE: 0.0,
        FAILURE: reason_of(error),
        IS_OUTSIDE: is_outside(error),
    }


def failure_of(error: Exception) -> tuple[str, bool]:
    """Return why a run failed, and whether the reason lies outside its settings."""
    return reason_of(error), is_outside(error)


def is_outside(error: Exception) -> bool:
    """Whether a run failed for something that its settings cannot change.

    Running out of memory on a GPU is not: each trial has its GPUs to itself, so what does not fit
    are its own model and batches.
    """
    return isinstance(error.cause if isinstance(error, RayTaskError) else error, OUTSIDE)


def failure_of_trial(trial: Trial) -> str:
    """Return why a Ray trial failed; empty if it did not."""
    if trial.last_result and FAILURE in trial.last_result:
        return trial.last_result[FAILURE]
    error = last_error(trial) if trial.status == Trial.ERROR else None
    return "" if error is None else reason_of(error)


def failure_reasons(results: ResultGrid) -> str:
    """Return in one line why runs failed, each reason once; empty if none did."""
    found: dict[str, None] = {}
    for index in range(len(results)):
        result = results[index]
        if result.metrics and FAILURE in result.metrics:
            found[result.metrics[FAILURE]] = None
        elif result.error is not None:
            found[reason_of(result.error)] = None
    return "; ".join(found)
