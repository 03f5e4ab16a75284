"""Works for a group of ranks, in a module that their processes can import."""

import os
import time
from collections.abc import Generator
from typing import Any

import torch

from daam.dataset.cache.traffic import TRAFFIC
from daam.errors import ConfigError
from daam.training import collectives


def epochs(num: int) -> Generator[dict[str, Any], None, None]:
    """Say in each epoch who trains, and what they find together."""
    for epoch in range(1, num + 1):
        TRAFFIC.num_images += 1
        own = torch.tensor([float(collectives.rank() + epoch)])
        yield {
            "epoch": epoch,
            "processes": collectives.from_all_ranks(os.getpid()),
            "threads": collectives.from_all_ranks(torch.get_num_threads()),
            "mean": collectives.mean_over_ranks(own).item(),
        }


def fails_on(rank: int) -> Generator[dict[str, Any], None, None]:
    """Fail on one rank while the others wait for it."""
    yield {"epoch": 1}
    if collectives.rank() == rank:
        raise ConfigError(f"rank {rank} fails")
    collectives.from_rank_zero(None)
    time.sleep(600)
