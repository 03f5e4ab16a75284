"""One rank of three, of which two are kept: `python -m tests.support.kept_ranks RANK FOLDER`."""

import json
import sys
from pathlib import Path

import torch
from torch import distributed

from daam.training import collectives
from tests.support.rank_end import end_rank

NUM_RANKS, NUM_KEPT = 3, 2


def found(rank: int) -> dict[str, object]:
    """What a rank sees of the group that is left."""
    own = torch.tensor([float(rank + 1)])
    return {
        "rank": collectives.rank(),
        "num_ranks": collectives.num_ranks(),
        "mean": collectives.mean_over_ranks(own).tolist(),
        "gathered": collectives.gather_equal(own).tolist(),
        "of_all": collectives.from_all_ranks(rank),
        "of_zero": collectives.from_rank_zero(rank),
    }


if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=NUM_RANKS
    )
    kept = collectives.keep_first(NUM_KEPT)
    (folder / f"{rank}.json").write_text(json.dumps(found(rank) if kept else "not kept"))
    end_rank()
