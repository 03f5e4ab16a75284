"""Environment variables for Ray, to be set before it is imported; so this module imports none."""

import os
import sys

# Variables the user has set are kept.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # `ray.train.report` waits for one; 2 s by default
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Under `uv run`, Ray would upload the working directory and log uv's command line.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
# Ray's way to say "this machine is the whole cluster": its processes then listen on loopback.
# Otherwise they listen on all addresses, and anybody who reaches them can run code.
ONE_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Otherwise gloo listens on the address that the machine's name resolves to.
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
}


def prepare_environment(*, address: str | None) -> None:
    """Set the variables that Ray reads when it is imported and when it starts processes.

    Args:
        address: of the cluster to use; None for one on this machine alone.
    """
    wanted = RAY_ENVIRONMENT if address is not None else RAY_ENVIRONMENT | ONE_MACHINE
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
