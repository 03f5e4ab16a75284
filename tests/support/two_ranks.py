"""One rank of a run of two processes: `python -m tests.support.two_ranks RANK ROOT FOLDER`."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from daam.config.schema import RunConfig
from daam.dataset.pixels.reader import PixelReader
from daam.training import collectives
from daam.training.batches import source_batches, target_batches
from daam.training.loop import fit
from daam.training.relabel import EpochGroups, relabel
from daam.training.scoring.extract import embed_rows
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import Run, assemble
from daam.training.setup.data import manifest_of
from daam.training.state import state_dict
from tests.support.images_in_memory import make_images
from tests.support.rank_end import end_rank
from tests.support.tiny_runs import tiny_config, untimed_metrics

NUM_RANKS = 2
NUM_STEPS = 3
SEVERAL_SOURCES = "several_sources"  # with the preset daam_v2
PRESETS = ("daam_v2", "daam_v1", "strong", "source_only", SEVERAL_SOURCES)


def config_of(root: Path, preset: str, *, num_ranks: int) -> RunConfig:
    """Settings of a run on that many ranks."""
    changes: dict[str, Any] = {"optimiser.num_epochs": 3, "compute.num_workers": num_ranks}
    if preset == "daam_v1":
        changes["loss.domain_similarity.kind"] = "soft_svdd"
    if preset == SEVERAL_SOURCES:
        changes["transfer"], preset = "plaza+station->campus", "daam_v2"
    return tiny_config(root, changes, preset=preset)


def rows_seen(run: Run) -> dict[str, list[torch.Tensor]]:
    """Rows and pixels of this rank's batches of an epoch."""
    steps = range(NUM_STEPS)
    sources = list(source_batches(run, epoch=0, steps=steps))
    targets = list(target_batches(run, epoch=0, steps=steps, labels=None))
    return {
        "source_rows": [batch.rows for batch in sources],
        "source_images": [batch.images for batch in sources],
        "target_rows": [batch.rows for batch in targets],
        "target_images": [batch.images for batch in targets],
    }


def found(root: Path, preset: str) -> dict[str, Any]:
    """All that must be the same on each rank after a run, and the rows it saw."""
    config = config_of(root, preset, num_ranks=NUM_RANKS)
    run = assemble(config)
    rows = rows_seen(run)
    reports = untimed_metrics(fit(run))
    labels = relabel(run, epoch=0)
    test = RetrievalTest.on_validation(config, manifest=run.target.manifest)
    result = score(run.embedder, test, config)
    grouped = isinstance(labels, EpochGroups)
    one_row = PixelReader(make_images(1), height=32, width=16)  # fewer rows than ranks
    # Were a rank but the first to read, it would find nothing.
    elsewhere = config_of(root / f"{collectives.rank() or ''}", preset, num_ranks=NUM_RANKS)
    uneven = torch.arange(collectives.rank(), 5, NUM_RANKS)
    return {
        "rows": rows,
        "reports": reports,
        "state": state_dict(run),
        "groups": torch.from_numpy(labels.groups_N) if grouped else None,
        "embeddings": labels.embeddings_NC if grouped else None,
        "centres": run.memory.centres_KC,
        "query": result.query_NC,
        "mAP": result.scores.mean_average_precision,
        "single": embed_rows(
            run.network, one_row, batch_size=4, flip=False, compute=run.compute, num_threads=2
        ),
        "mean": collectives.mean_over_ranks(torch.tensor([1.0, 4.0]) * collectives.rank()),
        "gathered": collectives.gather_equal(torch.full((2, 1), float(collectives.rank()))),
        "table": collectives.gather_rows(uneven, uneven[:, None] * 10.0, num_rows=5),
        "manifest": manifest_of(elsewhere, "plaza").to_json().decode(),
        "word": collectives.from_rank_zero(f"rank {collectives.rank()}"),
    }


def main(rank: int, root: Path, folder: Path) -> None:
    """Train with each preset, and leave what was found in the folder."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=NUM_RANKS
    )
    torch.save({preset: found(root, preset) for preset in PRESETS}, folder / f"{rank}.pt")
    end_rank()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
