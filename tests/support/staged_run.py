"""One rank of a run that shares its source stage, as a process of its own.

`python -m tests.support.staged_run '{"folder": ..., "stages": ..., "root": ...}'`, see `main`.
"""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from daam.config.schema import RunConfig
from daam.runs import claims
from daam.runs.worker import train_run
from daam.storage import open_store
from tests.support.rank_end import end_rank
from tests.support.tiny_runs import tiny_config

NUM_SOURCE_EPOCHS, NUM_EPOCHS = 3, 5


def config_of(root: Path, *, target: str = "campus", num_ranks: int = 1) -> RunConfig:
    """Settings of a run from plaza with more than one epoch on the source."""
    return tiny_config(
        root,
        {
            "transfer": f"plaza->{target}",
            "loss.warmup_epochs": NUM_SOURCE_EPOCHS,
            "optimiser.num_epochs": NUM_EPOCHS,
            "compute.num_workers": num_ranks,
        },
    )


def main(given: dict[str, Any]) -> None:
    """Train a run and print each of its epochs.

    Args:
        given: `root` of the domains, `folder` of the run and `stages`; perhaps `target`,
            `stop_after`, an epoch after which it does nothing more, and `rank`, `num_ranks` and
            `meeting`, the file where ranks meet.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    torch.set_num_threads(1)
    claims.BEAT_S, claims.DEAD_AFTER_S = 0.2, 2.0
    num_ranks = given.get("num_ranks", 1)
    config = config_of(
        Path(given["root"]), target=given.get("target", "campus"), num_ranks=num_ranks
    )
    if num_ranks > 1:
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{given['meeting']}",
            rank=given["rank"],
            world_size=num_ranks,
        )
    for row in train_run(open_store(given["folder"]), config, stages=open_store(given["stages"])):
        print(f"epoch {row['epoch']}", *(name for name in row if name.startswith("stage/")))
        sys.stdout.flush()
        if row["epoch"] == given.get("stop_after"):
            time.sleep(300)
    if num_ranks > 1:
        end_rank()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
