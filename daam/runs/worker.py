"""What one worker does, with or without Ray: resume, train, checkpoint, report.

A run lives in one folder, local or on S3:

    config.toml      its settings
    checkpoints/     the newest state, and latest.json that names it
    reports.json     the metrics of every epoch so far
    scores.json      how the finished run did on its target's query and gallery
"""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from daam.config.load import run_config, to_toml, with_settings
from daam.config.schema import RunConfig
from daam.errors import CheckpointError, ConfigError
from daam.runs.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from daam.storage import MissingKeyError, Store, open_parent, open_store
from daam.storage.local import absolute_folder
from daam.training import collectives
from daam.training.loop import fit
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import Run, assemble
from daam.training.state import captured, restore

CONFIG = "config.toml"
REPORTS = "reports.json"
SCORES = "scores.json"
# For a trained run: its weights come from the checkpoint, so those it started from need not be
# here; nor need the machine be one with a GPU.
ANYWHERE = {"model.weights": "none", "compute.device": "auto", "data.decode": "cpu"}


def portable(config: RunConfig) -> RunConfig:
    """Return the settings with local paths in full, for processes that start in another folder.

    Addresses are looked at, not used: what is wrong with one is said before it is stored anywhere.
    A `~` in the cache's stays: it is the home of whoever runs the process, on every machine.
    """
    changes = {"data.root": open_store(config.data.root).uri}
    if "://" in config.data.cache:
        raise ConfigError("data.cache is a folder of each machine, not an address; set its path")
    if not config.data.cache.startswith("~"):
        changes["data.cache"] = str(Path(config.data.cache).absolute())
    weights = config.model.weights
    if "://" in weights:
        open_parent(weights)
    elif weights not in ("imagenet", "none"):
        changes["model.weights"] = str(absolute_folder(Path(weights)))
    return with_settings(config, changes)


def resumed_run(config: RunConfig, folder: Store) -> Run:
    """Assemble a run and, where its folder holds a checkpoint, put it back to that state.

    Collective: every rank resumes from the checkpoint that rank 0 found.
    """
    run = assemble(config)
    checkpoints = folder.child("checkpoints")
    entry = collectives.from_rank_zero(
        latest_checkpoint(checkpoints) if collectives.rank() == 0 else None
    )
    if entry is not None:
        where = checkpoints.locate(entry.key)
        restore(run, load_checkpoint(checkpoints, entry), where=where)
    return run


def train_in(
    folder: Store, run: Run, *, test: RetrievalTest | None = None
) -> Generator[dict[str, float], None, None]:
    """Train a run to its end; yield each epoch's metrics once they and the state are stored.

    Args:
        folder: of the run.
        run: where it starts from; changed.
        test: scored after every epoch as `mAP` and `rank-1`.
    """
    with closing(fit(run)) as reports:
        for report in reports:
            metrics = report.as_metrics()
            if test is not None:
                scores = score(run.embedder, test, run.config).scores
                metrics |= {"mAP": scores.mean_average_precision, "rank-1": scores.cmc[1]}
            if collectives.rank() == 0:
                # The report goes first: an epoch that a checkpoint has passed is not run again.
                append_report(folder, metrics)
                save_checkpoint(folder.child("checkpoints"), captured(run))
            yield metrics


def train_together(
    runs: Sequence[tuple[Store, RunConfig]],
) -> Iterator[list[dict[str, float]]]:
    """Train several runs in this process, epoch by epoch; yield the metrics of all of them.

    Each is scored on the validation identities of its target. Runs that were interrupted go on from
    their checkpoints; the epochs they had done are yielded again from their reports.
    """
    with ExitStack() as stack:
        together = []
        for folder, config in runs:
            run = resumed_run(config, folder)
            test = RetrievalTest.on_validation(config, manifest=run.target.manifest)
            test.leave_cache_to(run.windows)
            earlier = {row["epoch"]: row for row in read_reports(folder)}
            reports = stack.enter_context(closing(train_in(folder, run, test=test)))
            together.append((run.num_epochs_done, earlier, reports))
        num_epochs = max(config.optimiser.num_epochs for _, config in runs)
        for epoch in range(1, num_epochs + 1):
            yield [
                earlier[epoch] if epoch <= num_done else next(reports)
                for num_done, earlier, reports in together
            ]


def train_and_test(folder: Store, config: RunConfig) -> Iterator[dict[str, float]]:
    """Train a run, then test it once on its target's query and gallery, into `scores.json`."""
    run = resumed_run(config, folder)
    last_epoch = config.optimiser.num_epochs
    for metrics in train_in(folder, run):
        yield metrics | {"num_epochs": last_epoch}
    test = RetrievalTest.on_test(config, domain=config.pair().target)
    scores = score(run.embedder, test, config).scores
    if collectives.rank() == 0:
        folder.write(SCORES, json.dumps(scores.as_document(), indent=1).encode())


def append_report(folder: Store, metrics: dict[str, float]) -> None:
    """Add an epoch's metrics to the run's reports, in place of those it had of later epochs."""
    earlier = [row for row in read_reports(folder) if row["epoch"] < metrics["epoch"]]
    folder.write(REPORTS, json.dumps([*earlier, metrics], indent=1).encode())


def read_reports(folder: Store) -> list[dict[str, float]]:
    """Return the metrics of every epoch a run has finished."""
    try:
        return json.loads(folder.read(REPORTS))
    except MissingKeyError:
        return []


def write_config(folder: Store, config: RunConfig) -> None:
    """Write the settings of a run into its folder."""
    folder.write(CONFIG, to_toml(config).encode())


def trained(folder_uri: str) -> tuple[RunConfig, dict[str, Any]]:
    """Return the settings and the newest state of a run's folder.

    Raises:
        CheckpointError: the folder holds no checkpoint.
    """
    checkpoints = open_store(folder_uri).child("checkpoints")
    entry = latest_checkpoint(checkpoints)
    if entry is None:
        raise CheckpointError(
            f"{folder_uri} holds no checkpoint; name the folder of a run, for example runs/NAME"
        )
    state = load_checkpoint(checkpoints, entry)
    return run_config(state["config"], where=checkpoints.locate(entry.key)), state
