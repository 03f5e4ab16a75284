"""Checkpoints of a run, in a folder or on S3, named by epoch and content.

`latest.json` names the newest one and its SHA-256, and is replaced after the checkpoint is stored:
a process that dies at any moment leaves either the old state or the new one.
"""

import hashlib
import io
import json
import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter

from daam.documents import Count, MalformedError, Sha256, parse_json
from daam.errors import CheckpointError
from daam.model.tensors import read_tensors
from daam.storage import MissingKeyError, Store
from daam.training.state import check_state

CHECKPOINTS = "checkpoints"  # the part of a run's folder that holds them
POINTER = "latest.json"
RESTORE = "restore it from a backup, or delete its folder to restart that run"
NAME = re.compile(r"epoch-(\d{4,9})-[0-9a-f]{16}\.pt", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointEntry:
    """A checkpoint's key in the store and its SHA-256."""

    key: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    sha256: Sha256
    num_epochs_done: Count


ENTRY = TypeAdapter(CheckpointEntry)


def save_checkpoint(store: Store, state: dict[str, Any]) -> CheckpointEntry:
    """Store a state from `daam.training.state.state_dict` and make it the latest.

    Raises:
        StorageError: the store refuses or is full; the previous checkpoint is still the latest.
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
    # Keep the previous one: a process that was thought dead may still be about to name it.
    for key in store.list("epoch-"):
        if (name := NAME.fullmatch(key)) and int(name[1]) < epoch - 1:
            store.delete(key)
    return entry


def latest_checkpoint(store: Store) -> CheckpointEntry | None:
    """Return the entry of the newest checkpoint, or None if there is none yet.

    Raises:
        CheckpointError: the pointer is damaged.
        StorageError: the store cannot be reached or refuses.
    """
    try:
        return parse_json(store.read_document(POINTER), ENTRY)
    except MissingKeyError:
        return None
    except MalformedError as error:
        raise CheckpointError(
            f"{store.locate(POINTER)} does not name a checkpoint ({error}); "
            "delete it to restart that run"
        ) from error


def load_checkpoint(store: Store, entry: CheckpointEntry) -> dict[str, Any]:
    """Return a stored state, its tensors on the CPU. Only tensors and plain values are loaded.

    Raises:
        CheckpointError: it is damaged or no checkpoint of daam.
        StorageError: the store cannot be reached or refuses.
    """
    content = store.read(entry.key)
    where = store.locate(entry.key)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise CheckpointError(
            f"the checkpoint {where} is damaged: its SHA-256 is not the one in {POINTER}; {RESTORE}"
        )
    try:
        state = read_tensors(io.BytesIO(content))
    except MalformedError as error:
        raise CheckpointError(f"{where} is not a checkpoint of daam: {error}; {RESTORE}") from error
    check_state(state, where=where)
    if state["num_epochs_done"] != entry.num_epochs_done:
        raise CheckpointError(
            f"{where} is of epoch {state['num_epochs_done']}, and {POINTER} names epoch "
            f"{entry.num_epochs_done}; {RESTORE}"
        )
    return state
