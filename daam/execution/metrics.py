"""How a run shows in Ray's dashboard: the names of its processes, and its gauges in Prometheus."""

from collections.abc import Callable

import setproctitle
from ray.util.metrics import Gauge


def label_process(name: str) -> None:
    """Name this worker process in the dashboard's Cluster page, and in `ps`.

    Ray names the process anew whenever it calls a method of its actor.
    """
    setproctitle.setproctitle(f"ray::{name}")


def trial_gauges(name: str) -> Callable[..., None]:
    """Return a function that publishes a trial's epoch and score.

    Ray's metrics endpoints show them as `ray_daam_trial_epoch` and `ray_daam_trial_score` with the
    trial's name as the tag `trial`.
    """
    gauges = {
        "epoch": Gauge("daam_trial_epoch", "epochs a trial has finished", tag_keys=("trial",)),
        "score": Gauge("daam_trial_score", "validation score of a trial", tag_keys=("trial",)),
    }

    def publish(**values: float) -> None:
        for key, value in values.items():
            gauges[key].set(value, tags={"trial": name})

    return publish
