"""What Ray's dashboard shows of a run: names of processes, and gauges for Prometheus."""

from collections.abc import Callable

import setproctitle
from ray.util.metrics import Gauge


def label_process(name: str) -> None:
    """Name this worker process in the dashboard's Cluster page, and in `ps`.

    Ray renames the process at every call of one of its actor's methods.
    """
    setproctitle.setproctitle(f"ray::{name}")


def trial_gauges(name: str) -> Callable[..., None]:
    """Return a function that publishes a trial's epoch and score.

    Ray's metrics endpoints export them as `ray_daam_trial_epoch` and `ray_daam_trial_score`, tagged
    with the trial's name as `trial`.
    """
    gauges = {
        "epoch": Gauge("daam_trial_epoch", "epochs a trial has finished", tag_keys=("trial",)),
        "score": Gauge("daam_trial_score", "validation score of a trial", tag_keys=("trial",)),
    }

    def publish(**values: float) -> None:
        for key, value in values.items():
            gauges[key].set(value, tags={"trial": name})

    return publish
