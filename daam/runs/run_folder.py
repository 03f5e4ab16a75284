"""The folder of a run, local or on S3: started once, resumed, read.

config.toml      its settings
run.lock         locked by the process that trains it; in an object store that process's lease
attempts/        which processes have trained it, where and when; only the last one may write
checkpoints/     the newest state, and latest.json that names it
reports.json     the metrics of every epoch so far
scores.json      how the finished run did on its target's query and gallery
report.html      all of it to look at
card.md          its model card
"""

import json
import shlex
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from daam.config.load import run_config, to_toml, with_settings
from daam.config.schema import RunConfig
from daam.documents import Count, MalformedError, Number, Share, parse_json, parse_toml
from daam.errors import CheckpointError, ConfigError, TrainingError
from daam.runs.attempts import ATTEMPTS
from daam.runs.checkpoint import (
    CHECKPOINTS,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from daam.storage import MissingKeyError, Store, open_parent, open_store
from daam.storage.local import absolute_folder
from daam.training.source_stage import taken_over

CONFIG = "config.toml"
REPORTS = "reports.json"
SCORES = "scores.json"
LOCK = "run.lock"
REPEATS = "repeats"
"""The metric that counts how often an epoch was trained again, because its state was lost."""
# `rclone serve s3` replaces objects in place, so a reader may see half of a file for a moment.
REWRITTEN_WITHIN_S = 5.0


class EpochRow(BaseModel):
    """The metrics of an epoch as they are stored; those that are not named here are numbers."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Number] = Field(init=False)  # pyright: ignore

    epoch: Annotated[Count, Field(ge=1)]
    num_epochs: Count
    seconds: Annotated[float, Field(ge=0)]
    repeats: Count = 0
    map: Share = Field(default=0.0, alias="mAP")
    rank_1: Share = Field(default=0.0, alias="rank-1")
    outlier_share: Share = Field(default=0.0, alias="diagnostic/outlier_share")
    self_retrieval: Share = Field(default=0.0, alias="label_free/self_retrieval")
    trained: str = Field(default="", alias="stage/trained")
    reused: str = Field(default="", alias="stage/reused")
    warnings: list[str] = []
    notes: list[str] = []


EPOCH_ROWS = TypeAdapter(list[EpochRow])


def portable(config: RunConfig) -> RunConfig:
    """Return the settings with local paths made absolute, for processes in another folder.

    Addresses are parsed but not contacted, so a bad one is reported before it is stored anywhere.
    A `~` in the cache's path stays: on each machine it is the home of the user who runs the
    process.

    Raises:
        ConfigError, StorageError: a path or address in the settings is wrong.
    """
    changes = {"data.root": open_store(config.data.root).uri}
    if "://" in config.data.cache:
        raise ConfigError("data.cache is a folder of each machine, not an address; set its path")
    if not config.data.cache.startswith("~"):
        changes["data.cache"] = str(absolute_folder(Path(config.data.cache)))
    weights = config.model.weights
    if "://" in weights:
        open_parent(weights)
    elif weights not in ("imagenet", "none"):
        changes["model.weights"] = str(absolute_folder(Path(weights)))
    return with_settings(config, changes)


def start_run(uri: str, config: RunConfig) -> Store:
    """Make the folder of a new run, which holds its settings in portable form.

    Raises:
        ConfigError, StorageError: a path or address in the settings is wrong.
        TrainingError: there is a run in it already.
    """
    config = portable(config)
    folder = open_store(uri)
    if folder.exists(CONFIG):
        raise TrainingError(
            f"there is a run in {uri} already; resume it (--resume {shlex.quote(uri)}; in Python, "
            "resume=True), or give this one another name: --name NAME"
        )
    folder.write(CONFIG, to_toml(config).encode())
    return folder


def open_run(folder: Store, *, num_workers: int | None = None) -> RunConfig:
    """Return the settings a run was started with, perhaps for another number of workers.

    Raises:
        TrainingError: there is no run in the folder.
        ConfigError: its settings are damaged.
    """
    try:
        tree = parse_toml(folder.read_document(CONFIG))
    except MissingKeyError as error:
        raise TrainingError(
            f"there is no run in {folder.uri}; name the folder that `train` printed"
        ) from error
    except MalformedError as error:
        raise ConfigError(
            f"{folder.locate(CONFIG)} is damaged: {error}; fix it, or restore it from a backup"
        ) from error
    config = run_config(tree, where=folder.locate(CONFIG))
    if num_workers is not None:
        least = min(config.compute.min_workers, num_workers)
        workers = {"compute.num_workers": num_workers, "compute.min_workers": least}
        config = with_settings(config, workers)
    return config


def start_from(folder: Store, source: str, config: RunConfig) -> None:
    """Put a new run at the end of its source stage, which another run has trained.

    The run then resumes from there.

    Args:
        folder: of the new run, from `start_run`.
        source: folder of the other.
        config: the new run's settings, in portable form.

    Raises:
        ConfigError, CheckpointError: as for `daam.training.source_stage.taken_over`.
    """
    then, state = trained(source)
    own = taken_over(config, state, then=then, where=source)
    for row in read_reports(open_store(source)):
        if row["epoch"] <= own["num_epochs_done"]:
            append_report(folder, of_source_stage(row, config))
    save_checkpoint(folder.child(CHECKPOINTS), own)


def of_source_stage(row: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """Return the metrics of an epoch on the source, as those of a run with these settings.

    Diagnostics and scores are left out: they are of another target.
    """
    kept = {
        name: row[name]
        for name in row
        if name in ("epoch", "seconds") or name.startswith(("seconds/", "loss/"))
    }
    return kept | {"num_epochs": config.num_epochs}


def abandon_run(folder: Store) -> None:
    """Undo `start_run` for a run that failed in its first epoch, so that it can be started again.

    A run that has finished an epoch is kept.
    """
    if not read_reports(folder):
        for key in (*folder.list(f"{ATTEMPTS}/"), CONFIG):
            folder.delete(key)


def append_report(folder: Store, metrics: dict[str, Any]) -> None:
    """Add an epoch's metrics to the run's reports, replacing those of this epoch and later ones.

    Metrics of an epoch that was reported before get its number of repeats.
    """
    rows = read_reports(folder)
    earlier = [row for row in rows if row["epoch"] < metrics["epoch"]]
    if before := [row for row in rows if row["epoch"] == metrics["epoch"]]:
        metrics[REPEATS] = before[0].get(REPEATS, 0) + 1
    folder.write(REPORTS, json.dumps([*earlier, metrics], indent=1).encode())


def read_reports(folder: Store) -> list[dict[str, Any]]:
    """Return the metrics of every epoch a run has finished.

    Raises:
        TrainingError: the file is damaged.
    """
    deadline = time.monotonic() + REWRITTEN_WITHIN_S
    while True:
        try:
            content = folder.read_document(REPORTS)
        except MissingKeyError:
            return []
        try:
            return parse_reports(content)
        except MalformedError as error:
            if content.endswith(b"]") or time.monotonic() > deadline:
                raise TrainingError(
                    f"{folder.locate(REPORTS)} is damaged ({error}); delete it and resume the run"
                ) from error
            time.sleep(0.1)


def parse_reports(content: bytes) -> list[dict[str, Any]]:
    """Return the metrics in a file of reports.

    Raises:
        MalformedError: it is no such file.
    """
    rows = parse_json(content, EPOCH_ROWS)
    if any(after.epoch <= row.epoch for row, after in pairwise(rows)):
        raise MalformedError("its epochs are not in order")
    return [row.model_dump(by_alias=True, exclude_unset=True) for row in rows]


def trained(folder_uri: str) -> tuple[RunConfig, dict[str, Any]]:
    """Return the settings and the newest state of a run.

    Raises:
        CheckpointError: the folder holds no checkpoint.
    """
    checkpoints = open_store(folder_uri).child(CHECKPOINTS)
    entry = latest_checkpoint(checkpoints)
    if entry is None:
        raise CheckpointError(
            f"{folder_uri} holds no checkpoint; name the folder of a run, for example runs/NAME"
        )
    state = load_checkpoint(checkpoints, entry)
    return run_config(state["config"], where=checkpoints.locate(entry.key)), state
