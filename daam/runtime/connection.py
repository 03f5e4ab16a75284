"""A Ray cluster for the time of a job: one on this machine, or one that is running."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from daam.errors import TrainingError

# Read by Ray when it is started; what a user has set stays. A health check of two seconds is what
# `ray.train.report` waits for.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
OBJECT_STORE_BYTES = 256 << 20  # nothing large goes through it: images come from the shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A cluster in use."""

    dashboard_url: str
    num_cpus: int
    num_gpus: int


@contextmanager
def connected(*, address: str | None = None, num_cpus: int | None = None) -> Iterator[Connection]:
    """Use the cluster at an address (`auto`: the one of this machine), or start one here.

    One that is started here listens on loopback alone and ends with the block.

    Raises:
        TrainingError: there is no cluster at the address.
    """
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        if address is None:
            context = ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        else:
            context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"there is no Ray cluster at {address or 'this machine'}: {error}; start one with "
            "`ray up cluster/onprem.yaml`, or leave --address out to use this machine"
        ) from error
    try:
        resources = ray.cluster_resources()
        yield Connection(
            dashboard_url=f"http://{context.dashboard_url}" if context.dashboard_url else "",
            num_cpus=int(resources.get("CPU", 0)),
            num_gpus=int(resources.get("GPU", 0)),
        )
    finally:
        ray.shutdown()
