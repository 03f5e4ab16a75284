"""How runs are put on the cluster: resources, concurrency, restarts, and what failed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray.tune import FailureConfig, ResultGrid, TuneConfig, Tuner
from ray.tune import RunConfig as TuneRunConfig
from ray.tune.execution import class_cache

from daam.config.schema import RunConfig
from daam.errors import DaamError, StorageError
from daam.execution.metrics import label_process
from daam.execution.trainer import wants_gpu

SCORE = "score"
EPOCH = "epoch"
LAST_EPOCH = "num_epochs"
MAP = "mAP/"  # followed by a transfer
FAILURE = "failure"
WAITING_BYTES = 256 << 20


class NotSaved:
    """Something of this process that Ray Tune would save: its saved state is never read again."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "NotSaved":
        return self


def tuner_for(
    function: Callable[[dict[str, Any]], None],
    *,
    config: RunConfig,
    scratch: Path,
    callbacks: list[ray.tune.Callback],
    max_concurrent: int,
    max_failures: int,
    param_space: dict[str, Any] | None = None,
    **search: Any,
) -> Tuner:
    """Make a Ray tuner whose trials share processes: one that ends leaves its process to the next.

    Ray's own state goes to the scratch folder: nothing is resumed from it.

    Args:
        function: a trial.
        config: of one trial, for the resources it takes.
        scratch: a local folder.
        callbacks: told of every event.
        max_concurrent: trials at a time; 0 for as many as fit.
        max_failures: times a trial is started again.
        param_space: of a grid.
        search: `search_alg`, `scheduler`, `num_samples` of Ray's `TuneConfig`.
    """
    _keep_credentials_here()
    return Tuner(
        ray.tune.with_resources(function, resources_of(config)),
        param_space=param_space,
        tune_config=TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=max_concurrent or most_at_once(config),
            **search,
        ),
        run_config=TuneRunConfig(
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=max_failures),
            callbacks=callbacks,
            verbose=0,
        ),
    )


def _keep_credentials_here() -> None:
    """Have Ray Tune not send this process's AWS keys along with every trial.

    It would, as part of the settings of a trial's process, which Ray writes into its logs and shows
    on its dashboard. Processes find credentials where they run, as those of Ray Train do.
    """
    sent = class_cache.ENV_VARS_TO_PROPAGATE
    sent.difference_update({name for name in sent if name.startswith("AWS_")})


def resources_of(config: RunConfig) -> dict[str, float]:
    """What a trial's own process takes: all of a trial of one worker, no processor of others.

    The process of a trial of several workers only waits for them. If it held back but a hundredth
    of a CPU, workers that need all of them would never start.
    """
    if config.compute.num_workers > 1:
        return {"memory": WAITING_BYTES}
    return {"CPU": 1, "GPU": 1} if wants_gpu(config) else {"CPU": 1}


def most_at_once(config: RunConfig) -> int:
    """How many trials the cluster has room for, their workers counted."""
    have = ray.cluster_resources()
    kinds = ("CPU", "GPU") if wants_gpu(config) else ("CPU",)
    return max(1, int(min(have.get(kind, 0) // config.compute.num_workers for kind in kinds)))


def report_epochs(epochs: Iterable[dict[str, Any]], *, name: str, num_epochs: int) -> None:
    """Hand every epoch's metrics to Ray Tune; meanwhile the process bears the run's name."""
    label_process(name)
    with failure_reported(num_epochs=num_epochs):
        for metrics in epochs:
            ray.tune.report(metrics)
            label_process(name)


@contextmanager
def failure_reported(*, num_epochs: int) -> Iterator[None]:
    """End a run that fails with an error of ours with a last result that says why.

    To start it again, as Ray does with a process that died, would only end the same way. That is
    not so for a store that could not be reached: Ray starts such a run again.
    """
    try:
        yield
    except StorageError:
        raise
    except DaamError as error:
        ray.tune.report(failed(error, num_epochs=num_epochs))


def failed(error: DaamError, *, num_epochs: int) -> dict[str, Any]:
    """The last result of a run that failed."""
    return {EPOCH: 0, LAST_EPOCH: num_epochs, SCORE: 0.0, FAILURE: str(error)}


def failures(results: ResultGrid) -> str:
    """Say in one line why runs failed, the same reason once; empty if none did."""
    found: dict[str, None] = {}
    for index in range(len(results)):
        result = results[index]
        if result.metrics and FAILURE in result.metrics:
            found[result.metrics[FAILURE]] = None
        elif result.error is not None:
            found[str(result.error).strip().splitlines()[-1]] = None
    return "; ".join(found)
