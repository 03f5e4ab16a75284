"""One training run from its settings to its end, here or on a cluster."""

import shlex
import tempfile
import tomllib
from collections.abc import Iterator

from daam.config.load import run_config, with_settings
from daam.config.schema import RunConfig
from daam.errors import TrainingError
from daam.execution.connection import connected, require_reachable
from daam.execution.trainer import start_driver
from daam.runs.worker import CONFIG, read_reports, resumed_run, train_in, write_config
from daam.storage import MissingKeyError, Store, open_store

POLL_S = 1.0


def start_run(uri: str, config: RunConfig) -> Store:
    """Make the folder of a new run.

    Raises:
        TrainingError: there is a run in it already.
    """
    folder = open_store(uri)
    if folder.exists(CONFIG):
        raise TrainingError(
            f"there is a run in {uri} already; go on with it: --resume {shlex.quote(uri)}, "
            "or give this one another name: --name NAME"
        )
    write_config(folder, config)
    return folder


def abandon_run(folder: Store) -> None:
    """Remove a run that failed in its first epoch, so that the same command can be given again.

    One that has finished an epoch is kept.
    """
    if not read_reports(folder):
        folder.delete(CONFIG)


def open_run(folder: Store, *, num_workers: int | None) -> RunConfig:
    """Return the settings of a run that was started, perhaps for another number of workers.

    Raises:
        TrainingError: there is no run in the folder.
    """
    try:
        tree = tomllib.loads(folder.read(CONFIG).decode())
    except MissingKeyError as error:
        raise TrainingError(
            f"there is no run in {folder.uri}; name the folder that `train` printed"
        ) from error
    config = run_config(tree, where=folder.locate(CONFIG))
    if num_workers is not None:
        config = with_settings(config, {"compute.num_workers": num_workers})
    return config


def train_here(config: RunConfig, folder: Store) -> Iterator[dict[str, float]]:
    """Train in this process; yield each epoch's metrics."""
    yield from train_in(folder, resumed_run(config, folder))


def train_on_ray(
    config: RunConfig, folder: Store, *, address: str | None
) -> Iterator[dict[str, float]]:
    """Train on Ray workers; yield each epoch's metrics as they appear in the run's folder.

    Raises:
        TrainingError: the run failed more often than it may.
    """
    done = len(read_reports(folder))
    with (
        # Its last writers are killed, not waited for, when the connection ends before the run.
        tempfile.TemporaryDirectory(prefix="daam-train-", ignore_cleanup_errors=True) as scratch,
        connected(address=address),
    ):
        require_reachable({"data.root": config.data.root, "--storage": folder.uri})
        driver = start_driver(config, folder.uri, scratch=scratch)
        while True:
            ended = driver.has_ended(within_s=POLL_S)
            rows = read_reports(folder)
            yield from rows[done:]
            done = max(done, len(rows))
            if ended:
                driver.result()
                return
