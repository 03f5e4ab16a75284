"""Experiment trackers, which get a run's metrics after each epoch where `train` was called.

TensorBoard's event files go into the run's folder. MLflow, Weights & Biases and trackio are
imported when asked for, and find their servers and keys as they do elsewhere
(`MLFLOW_TRACKING_URI`, `WANDB_API_KEY`, ...).
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from daam.config.load import flat
from daam.config.schema import RunConfig
from daam.errors import ConfigError
from daam.storage import Store
from daam.storage.scratch import scratch_folder

PROJECT = "daam"
EVENTS = "tensorboard"

log = logging.getLogger(__name__)


class TrackerName(StrEnum):
    """Where a run's metrics can go beside its folder."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"
    TRACKIO = "trackio"


class Tracker(Protocol):
    """One run in an experiment tracker."""

    def log(self, metrics: Mapping[str, float], *, epoch: int) -> None:
        """Send the metrics of an epoch."""

    def close(self) -> None:
        """Send what is left, and end the run there."""


@contextmanager
def tracked(
    name: str, folder: Store, config: RunConfig
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Open a tracker for a run; yields the function that is called with each epoch's metrics.

    A tracker that fails while the run trains is left out from then on: one warning says so.

    Args:
        name: a `TrackerName`.
        folder: of the run, which names it.
        config: its settings, which are sent, too.

    Raises:
        ConfigError: there is no such tracker, its package is missing, or it refuses the run.
    """
    if name not in TRACKERS:
        raise ConfigError(f"--track {name}: the trackers are {', '.join(TRACKERS)}")
    try:
        tracker: Tracker | None = TRACKERS[TrackerName(name)](folder, config)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"--track {name} refused the run: {error}") from error

    def guarded(call: Callable[[Tracker], None]) -> None:
        nonlocal tracker
        if tracker is None:
            return
        try:
            call(tracker)
        except Exception as error:  # whatever it is, training goes on
            tracker = None
            log.warning("--track %s failed, the run goes on without it: %s", name, error)

    def send(metrics: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
        guarded(lambda tracker: tracker.log(numbers, epoch=int(metrics["epoch"])))

    try:
        yield send
    finally:
        guarded(lambda tracker: tracker.close())


class TensorBoardTracker:
    """Event files in the run's folder, one per epoch.

    tensorboardX writes in a thread of its own, and is done for certain only when it is closed.
    """

    def __init__(self, folder: Store, config: RunConfig) -> None:
        self._folder = folder

    def log(self, metrics: Mapping[str, float], *, epoch: int) -> None:
        from tensorboardX import SummaryWriter

        with scratch_folder() as scratch:
            # purge_step: what an interrupted run has logged of this epoch and later ones is void.
            suffix = f".{epoch:06d}"
            with SummaryWriter(str(scratch), filename_suffix=suffix, purge_step=epoch) as writer:
                for name, value in metrics.items():
                    writer.add_scalar(name, value, epoch)
            for file in scratch.iterdir():
                self._folder.upload(file, f"{EVENTS}/{file.name}")

    def close(self) -> None:
        pass


class MLflowTracker:
    """A run in MLflow, in the experiment `daam`."""

    def __init__(self, folder: Store, config: RunConfig) -> None:
        self._mlflow = package("mlflow")
        self._mlflow.set_experiment(PROJECT)
        self._mlflow.start_run(run_name=folder.name)
        self._mlflow.log_params(flat(config.model_dump()))

    def log(self, metrics: Mapping[str, float], *, epoch: int) -> None:
        self._mlflow.log_metrics(dict(metrics), step=epoch)

    def close(self) -> None:
        self._mlflow.end_run()


class WandbTracker:
    """A run in Weights & Biases, in the project `daam`."""

    PACKAGE = "wandb"

    def __init__(self, folder: Store, config: RunConfig) -> None:
        self._module = package(self.PACKAGE)
        self._module.init(project=PROJECT, name=folder.name, config=config.model_dump())

    def log(self, metrics: Mapping[str, float], *, epoch: int) -> None:
        self._module.log(dict(metrics), step=epoch)

    def close(self) -> None:
        self._module.finish()


class TrackioTracker(WandbTracker):
    """A run in trackio, which is called as Weights & Biases is."""

    PACKAGE = "trackio"


TRACKERS: Mapping[str, Callable[[Store, RunConfig], Tracker]] = {
    TrackerName.TENSORBOARD: TensorBoardTracker,
    TrackerName.MLFLOW: MLflowTracker,
    TrackerName.WANDB: WandbTracker,
    TrackerName.TRACKIO: TrackioTracker,
}


def package(name: str) -> ModuleType:
    """Import a tracker's package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--track {name} needs a package that is not installed ({error}): "
            f"pip install '.[{name}]', in a checkout of daam"
        ) from error
