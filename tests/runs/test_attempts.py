"""A process that trained a run, and was replaced, changes nothing of it any more."""

import json
from itertools import islice

import pytest

from daam.config.schema import RunConfig
from daam.errors import FencedError
from daam.runs import fences
from daam.runs.attempts import ATTEMPTS, begin_attempt
from daam.runs.checkpoint import latest_checkpoint
from daam.runs.run_folder import REPEATS, read_reports
from daam.runs.worker import train_run
from daam.storage import Store


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fences, "READ_BACK_AFTER_S", 0.05)


def test_only_the_last_attempt_may_write(store: Store) -> None:
    first = begin_attempt(store)
    first.write("key", b"first")
    second = begin_attempt(store)
    for change in (
        lambda: first.write("key", b"late"),
        lambda: first.child("checkpoints").write("latest.json", b"late"),
        lambda: first.delete("key"),
    ):
        with pytest.raises(FencedError, match="has taken over the run"):
            change()
    assert store.read("key") == b"first"
    second.write("key", b"second")
    assert store.list("checkpoints") == []


def test_a_run_that_continues_after_another_process_has_gone_further_is_stopped(
    store: Store, tiny_config: RunConfig
) -> None:
    zombie = train_run(store, tiny_config)
    next(zombie)
    rows = list(train_run(store, tiny_config))
    before = {key: store.read(key) for key in store.list()}
    with pytest.raises(FencedError, match="has taken over the run"):
        list(zombie)
    assert {key: store.read(key) for key in store.list()} == before
    newest = latest_checkpoint(store.child("checkpoints"))
    assert newest is not None
    assert newest.num_epochs_done == tiny_config.num_epochs == rows[-1]["epoch"]


def test_attempts_say_who_trained_where_and_from_which_epoch(
    store: Store, tiny_config: RunConfig
) -> None:
    list(islice(train_run(store, tiny_config), 1))
    list(train_run(store, tiny_config))
    attempts = [json.loads(store.read(key)) for key in store.list(f"{ATTEMPTS}/")]
    assert [attempt["epoch"] for attempt in attempts] == [0, 1]
    assert all(attempt["host"] and attempt["pid"] for attempt in attempts)
    assert not any(REPEATS in row for row in read_reports(store))


def test_an_epoch_whose_checkpoint_was_lost_is_marked_as_trained_again(
    store: Store, tiny_config: RunConfig
) -> None:
    list(islice(train_run(store, tiny_config), 1))
    store.delete("checkpoints/latest.json")
    rows = list(train_run(store, tiny_config))
    assert [row.get(REPEATS) for row in rows] == [1, None]
    assert [row.get(REPEATS) for row in read_reports(store)] == [1, None]
