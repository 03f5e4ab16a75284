"""A checkpoint is there whole or not at all, is checked when it is read, and runs no code."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from daam.errors import CheckpointError, StorageError
from daam.runs.checkpoint import (
    POINTER,
    CheckpointEntry,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from daam.storage import Store
from daam.storage.local import LocalStore
from daam.training.state import FORMAT

WEIGHT = "shared.classifier.weight"


def a_state(epoch: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "config": {"seed": 1, "loss": {"weight": 0.5}},
        "num_epochs_done": epoch,
        "source_digest": "0" * 64,
        "target_digest": "1" * 64,
        "windows": (0, 0),
        "num_identities": 2,
        "network": {WEIGHT: torch.arange(6.0).reshape(2, 3) + epoch},
        "teacher": None,
        "optimiser": {"state": {}, "param_groups": []},
        **dict.fromkeys(("nominal_centre", "nominal_spread", "source_centre", "exemplars")),
    }


def newest(store: Store) -> CheckpointEntry:
    entry = latest_checkpoint(store)
    assert entry is not None
    return entry


def test_what_was_saved_last_is_loaded_again(store: Store) -> None:
    assert latest_checkpoint(store) is None
    for epoch in (1, 2):
        save_checkpoint(store, a_state(epoch))
    entry = newest(store)
    loaded = load_checkpoint(store, entry)
    assert entry.num_epochs_done == loaded["num_epochs_done"] == 2
    assert loaded["config"] == a_state(2)["config"]
    assert loaded["nominal_centre"] is None
    assert torch.equal(loaded["network"][WEIGHT], a_state(2)["network"][WEIGHT])


def test_only_the_newest_checkpoint_and_the_one_before_are_kept(store: Store) -> None:
    entries = [save_checkpoint(store, a_state(epoch)) for epoch in (1, 2, 3, 4)]
    assert store.list() == sorted([entries[-2].key, entries[-1].key, POINTER])


def test_a_run_of_ten_thousand_epochs_keeps_the_checkpoint_it_just_named(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    entries = [save_checkpoint(store, a_state(epoch)) for epoch in (9998, 9999, 10_000)]
    assert load_checkpoint(store, newest(store))["num_epochs_done"] == 10_000
    assert store.list() == sorted([entries[-2].key, entries[-1].key, POINTER])


def test_saving_the_same_state_again_keeps_it(store: Store) -> None:
    first, second = (save_checkpoint(store, a_state(1)) for _ in range(2))
    assert first == second == newest(store)
    assert load_checkpoint(store, second)["num_epochs_done"] == 1


@pytest.mark.parametrize("damage", ["one flipped bit", "cut in half", "empty"])
def test_a_damaged_checkpoint_is_named(store: Store, damage: str) -> None:
    entry = save_checkpoint(store, a_state(1))
    content = bytearray(store.read(entry.key))
    if damage == "one flipped bit":
        content[len(content) // 2] ^= 1
    else:
        del content[0 if damage == "empty" else len(content) // 2 :]
    store.write(entry.key, bytes(content))
    with pytest.raises(CheckpointError, match="is damaged") as caught:
        load_checkpoint(store, entry)
    assert f"{store.uri}/{entry.key}" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": "epoch-0001.pt"}', b"\xff\xfe"])
def test_a_damaged_pointer_is_named(store: Store, content: bytes) -> None:
    store.write(POINTER, content)
    with pytest.raises(CheckpointError, match="does not name a checkpoint") as caught:
        latest_checkpoint(store)
    assert f"{store.uri}/{POINTER}" in str(caught.value)


class DiesAt(LocalStore):
    """A folder whose process dies as it begins to write the pointer."""

    def write(self, key: str, data: bytes) -> None:
        if key == POINTER:
            raise KeyboardInterrupt
        super().write(key, data)


def test_a_crash_before_the_pointer_is_written_leaves_the_old_state(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    before = save_checkpoint(store, a_state(1))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(DiesAt(tmp_path), a_state(2))
    assert newest(store) == before
    assert load_checkpoint(store, before)["num_epochs_done"] == 1
    after = save_checkpoint(store, a_state(2))
    assert newest(store) == after
    assert store.list() == sorted([before.key, after.key, POINTER])


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_holds_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "checkpoints")
    trace = tmp_path / "ran"
    buffer = io.BytesIO()
    torch.save({"num_epochs_done": 1, "network": Malicious(trace)}, buffer)
    entry = forged(store, buffer.getvalue())
    with pytest.raises(CheckpointError, match="is not a checkpoint of daam"):
        load_checkpoint(store, entry)
    assert not trace.exists()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with pytest.raises(CheckpointError, match="is not a checkpoint of daam"):
        load_checkpoint(store, forged(store, b"PK\x03\x04 not a state"))


def test_a_checkpoint_that_is_gone_is_a_storage_error(store: Store) -> None:
    entry = save_checkpoint(store, a_state(1))
    store.delete(entry.key)
    with pytest.raises(StorageError, match=entry.key):
        load_checkpoint(store, entry)


def forged(store: Store, content: bytes) -> CheckpointEntry:
    """Store bytes as the newest checkpoint, with a correct pointer."""
    digest = hashlib.sha256(content).hexdigest()
    key = f"epoch-0001-{digest[:16]}.pt"
    entry = {"key": key, "sha256": digest, "num_epochs_done": 1}
    store.write(key, content)
    store.write(POINTER, json.dumps(entry).encode())
    return newest(store)
