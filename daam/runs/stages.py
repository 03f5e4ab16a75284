"""Source stages that runs share: the first run to need one trains it, the others start from it.

STAGES/KEY/       a stage; its key is the digest of all that its state depends on
  stage.json      that description
  checkpoints/    the newest state, as in a run
  reports.json    the metrics of its epochs
  stage.lock      locked by the process that trains it (in an object store: claim.json)

Every epoch is stored, so a stage whose run was stopped is resumed by the next run that needs it.
"""

import hashlib
import json
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from daam.errors import CheckpointError, StorageError
from daam.runs.checkpoint import POINTER, latest_checkpoint, load_checkpoint, save_checkpoint
from daam.runs.claims import claim_on
from daam.runs.run_folder import (
    CHECKPOINTS,
    REPORTS,
    append_report,
    of_source_stage,
    read_reports,
)
from daam.storage import MissingKeyError, Store
from daam.storage.private import own_folder
from daam.training import collectives
from daam.training.setup.assemble import Run
from daam.training.source_stage import adopted, num_source_epochs, stage_description
from daam.training.state import load_state_dict, state_dict

DESCRIPTION = "stage.json"
TRAINED, REUSED = "stage/trained", "stage/reused"
"""Metrics of an epoch of the source stage whose value is the stage's key: trained by the run, or
taken over."""
KEY_LENGTH = 32
POLL_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStage:
    """A source stage in a store of stages.

    Attributes:
        store: its own part of that store.
        key: its name there.
        num_epochs: it is finished after.
    """

    store: Store
    key: str
    num_epochs: int

    @property
    def checkpoints(self) -> Store:
        """Where its states are."""
        return self.store.child(CHECKPOINTS)

    def num_epochs_done(self) -> int:
        """Return how many epochs are trained; 0 if its newest state is damaged."""
        try:
            entry = latest_checkpoint(self.checkpoints)
        except CheckpointError:
            return 0
        return 0 if entry is None else entry.num_epochs_done

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Wait until the stage is finished or no other run trains it; then keep others waiting.

        They wait until the block ends. Collective.
        """
        claim, is_waiting = claim_on(self.store), False
        try:
            while not collectives.from_rank_zero(
                collectives.rank() == 0
                and (self.num_epochs_done() >= self.num_epochs or claim.acquire())
            ):
                if not is_waiting and collectives.rank() == 0:
                    log.info("waiting for the run that trains the source stage %s", self.store.uri)
                is_waiting = True
                time.sleep(POLL_S)
            yield
        finally:
            claim.release()

    def take_over(self, run: Run, folder: Store) -> list[dict[str, Any]]:
        """Put a run into the newest state of the stage, unless it is as far itself.

        Collective.

        Args:
            run: changed.
            folder: its folder, where the state and the metrics of the epochs are stored, too.

        Returns:
            The metrics of the epochs that the run skips.
        """
        entry = state = None
        if collectives.rank() == 0 and self.num_epochs_done() > run.num_epochs_done:
            try:
                entry = latest_checkpoint(self.checkpoints)
                state = None if entry is None else load_checkpoint(self.checkpoints, entry)
            except (CheckpointError, MissingKeyError) as error:
                log.warning("training the source stage again: %s", error)
                self.checkpoints.delete(POINTER)
                entry = None
        entry = collectives.from_rank_zero(entry)
        if entry is None:
            return []
        if state is None:
            state = load_checkpoint(self.checkpoints, entry)
        own = adopted(
            state, run.config, target_digest=run.target.digest, windows=run.windows.counts
        )
        num_done_before = run.num_epochs_done
        load_state_dict(run, own, where=self.checkpoints.locate(entry.key))
        rows: list[dict[str, Any]] = []
        if collectives.rank() == 0:
            rows = [
                of_source_stage(row, run.config) | {REUSED: self.key}
                for row in read_reports(self.store)
                if num_done_before < row["epoch"] <= run.num_epochs_done
            ]
            for row in rows:
                append_report(folder, row)
            save_checkpoint(folder.child(CHECKPOINTS), own)
            log.info("%d epochs on the source were taken from %s", len(rows), self.store.uri)
        return collectives.from_rank_zero(rows)

    def keep(self, run: Run, folder: Store) -> None:
        """Store the state of a run in its source stage, unless a later one is there. Collective.

        Args:
            run: at the end of an epoch.
            folder: its folder.
        """
        if collectives.rank() == 0 and self.num_epochs_done() < run.num_epochs_done:
            rows = [of_source_stage(row, run.config) for row in read_reports(folder)]
            self.store.write(REPORTS, json.dumps(rows, indent=1).encode())
            save_checkpoint(self.checkpoints, state_dict(run))


def shared_stage(run: Run, folder: Store, stages: Store) -> SharedStage | None:
    """Return the source stage that a run shares; None if it is past it or shares none. Collective.

    A run that trains on its source to the end shares none, unless it is a source stage itself
    (`stage = "source"`): its last epoch needs a score on its own target. Nor does a run that was
    resumed under another key, for example with other workers: its state is not what the key stands
    for.

    Args:
        run: assembled, in the state of its newest checkpoint.
        folder: its folder.
        stages: where stages are kept.
    """
    num_epochs = num_source_epochs(run.config)
    has_stage = run.config.stage == "source" or num_epochs < run.config.num_epochs
    if run.num_epochs_done >= num_epochs or not has_stage:
        return None
    description = json.dumps(stage_description(run), indent=1, sort_keys=True).encode()
    key = hashlib.sha256(description).hexdigest()[:KEY_LENGTH]
    keys = {
        row.get(TRAINED, row.get(REUSED))
        for row in (read_reports(folder) if collectives.rank() == 0 else [])
        if row["epoch"] <= run.num_epochs_done
    }
    if not collectives.from_rank_zero(keys <= {key}):
        return None
    store = stages.child(key)
    if collectives.rank() == 0:
        make_private(store)
        if not store.exists(DESCRIPTION):
            store.write(DESCRIPTION, description)
    return SharedStage(store=store, key=key, num_epochs=num_epochs)


def make_private(store: Store) -> None:
    """Create a local folder that only its owner may enter; do nothing in an object store.

    Raises:
        StorageError: another user could change what runs start from, or it cannot be created.
    """
    path = store.local_path(DESCRIPTION)
    if path is None:
        return
    try:
        own_folder(path.parent, instead="name another one for stages")
    except OSError as error:
        raise StorageError(
            f"cannot create {store.uri}: {error.strerror}; name a folder of yours for stages"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSavings:
    """What sharing source stages has saved some runs.

    Attributes:
        num_trained: stages that these runs trained, or a part of.
        num_reused: runs that took one over.
        seconds_trained: that training them took.
        seconds_saved: that training them again would have taken.
    """

    num_trained: int
    num_reused: int
    seconds_trained: float
    seconds_saved: float


def stage_savings(reports: Collection[Sequence[Mapping[str, Any]]]) -> StageSavings:
    """Sum up what sharing source stages has saved some runs.

    Args:
        reports: of each run, the metrics of its epochs.
    """
    rows = [row for report in reports for row in report]
    return StageSavings(
        num_trained=len({row[TRAINED] for row in rows if TRAINED in row}),
        num_reused=sum(any(REUSED in row for row in report) for report in reports),
        seconds_trained=sum(row["seconds"] for row in rows if TRAINED in row),
        seconds_saved=sum(row["seconds"] for row in rows if REUSED in row),
    )
