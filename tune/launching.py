"""How runs are put on the cluster: resources, concurrency, restarts, and what failed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray.tune import FailureConfig, ResultGrid, TuneConfig, Tuner
from ray.tune import RunConfig as TuneRunConfig

from daam.config.schema import RunConfig
from daam.runtime.trainer import wants_gpu


def tuner_for(
    function: Callable[[dict[str, Any]], None],
    *,
    resources: dict[str, float],
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
        resources: of one trial.
        scratch: a local folder.
        callbacks: told of every event.
        max_concurrent: trials at a time; 0 for as many as fit.
        max_failures: times a trial is started again.
        param_space: of a grid.
        search: `search_alg`, `scheduler`, `num_samples` of Ray's `TuneConfig`.
    """
    function.__name__ = "trial"  # what the dashboard's Actors page shows
    return Tuner(
        ray.tune.with_resources(function, resources),
        param_space=param_space,
        tune_config=TuneConfig(
            reuse_actors=True, max_concurrent_trials=max_concurrent or most_at_once(resources), **search
        ),
        run_config=TuneRunConfig(
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=max_failures),
            callbacks=callbacks,
            verbose=0,
        ),
    )


def resources_of(config: RunConfig) -> dict[str, float]:
    """What a trial's own process takes: all of a trial of one worker, next to nothing of others."""
    if config.compute.num_workers > 1:
        return {"CPU": 0.01}
    return {"CPU": 1, "GPU": 1} if wants_gpu(config) else {"CPU": 1}


def most_at_once(resources: dict[str, float]) -> int:
    """How many trials the cluster has room for; those whose workers come on top run alone."""
    if resources["CPU"] < 1:
        return 1
    have = ray.cluster_resources()
    return max(1, int(min(have.get(kind, 0) // count for kind, count in resources.items())))


def failures(results: ResultGrid) -> str:
    """Say in one line which trials failed and of what; empty if none did."""
    found = []
    for index in range(len(results)):
        error = results[index].error
        if error is not None:
            last_line = str(error).strip().splitlines()[-1]
            found.append(f"{last_line}")
    return "; ".join(found)
