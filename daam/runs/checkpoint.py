"""Checkpoints of a run in a folder or on S3: written whole, named by what they hold, found again.

`latest.json` names the newest checkpoint and its SHA-256 and is replaced after that is stored, so a
process that dies at any moment leaves either the old state or the new one.
"""

import hashlib
import io
import json
import pickle
from dataclasses import asdict, dataclass
from typing import Any

import torch

from daam.errors import CheckpointError
from daam.storage import MissingKeyError, Store

POINTER = "latest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointEntry:
    """Where a checkpoint is and what it must hash to."""

    key: str
    sha256: str
    num_epochs_done: int


def save_checkpoint(store: Store, state: dict[str, Any]) -> CheckpointEntry:
    """Store a state of `daam.training.state.captured` and make it the latest.

    Raises:
        StorageError: the store refuses or is full; the checkpoint before is still the latest.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    epoch = state["num_epochs_done"]
    entry = CheckpointEntry(
        key=f"epoch-{epoch:04d}-{digest[:16]}.pt", sha256=digest, num_epochs_done=epoch
    )
    store.write(entry.key, content)
    store.write(POINTER, json.dumps(asdict(entry), indent=1).encode())
    # The one before is kept: a process that was thought dead may still be about to name it.
    for key in store.list("epoch-"):
        if int(key.split("-")[1]) < epoch - 1:
            store.delete(key)
    return entry


def latest_checkpoint(store: Store) -> CheckpointEntry | None:
    """Return the newest checkpoint's entry, or None where there is none yet.

    Raises:
        CheckpointError: the pointer is not readable.
        StorageError: the store cannot be reached or refuses.
    """
    try:
        content = store.read(POINTER)
    except MissingKeyError:
        return None
    try:
        return CheckpointEntry(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{store.locate(POINTER)} does not name a checkpoint ({error}); "
            "delete it to start that run anew"
        ) from error


def load_checkpoint(store: Store, entry: CheckpointEntry) -> dict[str, Any]:
    """Return a stored state, its tensors on the CPU; nothing but tensors and plain values loads.

    Raises:
        CheckpointError: it is damaged or not one of ours.
        StorageError: the store cannot be reached or refuses.
    """
    content = store.read(entry.key)
    where = store.locate(entry.key)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise CheckpointError(
            f"the checkpoint {where} is damaged: its SHA-256 is not the one in {POINTER}; "
            "restore it from a backup, or delete its folder to start that run anew"
        )
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{where} is not a checkpoint of daam: {error}") from error
