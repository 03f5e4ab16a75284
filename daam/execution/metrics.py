"""What Prometheus is shown of runs, through the metrics endpoint of each of Ray's nodes.

Ray puts `ray_` before every name. All that begins with `daam_run_` is tagged with study and run
(a trial, a repeat of one, a contender), and in the process that trains with transfer and host, too.
Published once an epoch, from what its report holds: the steps know nothing of it. Ray exports a
gauge until 20 s after it was set, so queries look back: `last_over_time(ray_daam_run_score[30m])`.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ray.util import get_node_ip_address
from ray.util.metrics import Counter, Gauge

from daam.config.schema import RunConfig
from daam.dataset.cache.traffic import TRAFFIC
from daam.execution.names import process_named
from daam.training import collectives
from daam.training.schedule import weights_at

TAGS = ("study", "run", "transfer", "host")
PER_EPOCH = {
    "daam_run_epoch": "epochs that are done",
    "daam_run_num_epochs": "epochs in all",
    "daam_run_epoch_seconds": "duration of the last epoch, scoring left out",
    "daam_run_score": "score after the last epoch that was scored, 0 to 1",
    "daam_run_groups": "pseudo-labels of the target",
    "daam_run_outlier_share": "share of the target's images in no group",
    "daam_run_images_per_second": "images of both domains, over all workers",
    "daam_run_step_seconds": "mean duration of a step",
    "daam_run_wait_seconds": "of it, how long the step waited for its batch",
}
LOSS = "daam_run_loss"
COUNTED = {
    "num_images": ("daam_images_read", "images that were asked for"),
    "num_missing": ("daam_images_missing", "of them, those that were not in the node's cache"),
    "size_bytes": ("daam_store_bytes", "bytes of images fetched from the store"),
}


def observed(
    epochs: Iterable[dict[str, Any]],
    config: RunConfig,
    *,
    study: str,
    run: str,
    score: str | None = None,
) -> Generator[dict[str, Any], None, None]:
    """Pass on the epochs of a run, name the process after it meanwhile, and publish their metrics.

    Args:
        epochs: metrics of each.
        config: settings of the run.
        study: its study, or `train`.
        run: its name there.
        score: the metric that is its score.
    """
    with process_named(f"{study}/{run} {config.transfer}"):
        tags = {
            "study": study,
            "run": run,
            "transfer": config.transfer,
            "host": get_node_ip_address(),
        }
        gauges = {name: Gauge(name, text, TAGS) for name, text in PER_EPOCH.items()}
        loss = Gauge(LOSS, "mean loss of the last epoch, weighted terms and total", (*TAGS, "loss"))
        counters = {key: Counter(name, text, TAGS) for key, (name, text) in COUNTED.items()}
        counted = asdict(TRAFFIC)
        for row in epochs:
            counted = _count(counters, since=counted, tags=tags)
            if collectives.rank() == 0:
                for name, value in _per_epoch(row, config, score=score).items():
                    gauges[name].set(value, tags)
                for name, value in row.items():
                    if name.startswith("loss/"):
                        loss.set(value, tags | {"loss": name.removeprefix("loss/")})
            yield row


def _per_epoch(row: Mapping[str, Any], config: RunConfig, *, score: str | None) -> dict[str, float]:
    """Return the values of an epoch that are known, by metric."""
    num_steps = config.optimiser.steps_per_epoch
    size = config.data.identities_per_batch * config.data.images_per_identity
    if weights_at(config, epoch=row["epoch"] - 1).need_target:
        size += config.data.target_batch_size
    steps_s = row.get("seconds/steps")
    found = {
        "daam_run_epoch": row["epoch"],
        "daam_run_num_epochs": row["num_epochs"],
        "daam_run_epoch_seconds": row["seconds"],
        "daam_run_score": None if score is None else row.get(score),
        "daam_run_groups": row.get("diagnostic/num_groups"),
        "daam_run_outlier_share": row.get("diagnostic/outlier_share"),
        "daam_run_images_per_second": num_steps * size / steps_s if steps_s else None,
        "daam_run_step_seconds": steps_s / num_steps if steps_s else None,
        "daam_run_wait_seconds": row["seconds/wait"] / num_steps if "seconds/wait" in row else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _count(
    counters: Mapping[str, Counter], *, since: Mapping[str, int], tags: dict[str, str]
) -> dict[str, int]:
    """Count what this process has read since then; return its totals now."""
    now = asdict(TRAFFIC)
    for key, counter in counters.items():
        if now[key] > since[key]:
            counter.inc(now[key] - since[key], tags)
    return now
