"""A source stage is trained once, and every run that starts from it ends as if it had trained it.

Runs in processes of their own, which are killed or of several ranks, are in `test_staged_runs.py`.
"""

import errno
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.errors import StorageError
from daam.runs import claims
from daam.runs.checkpoint import latest_checkpoint
from daam.runs.claims import claim_on
from daam.runs.run_folder import read_reports, trained
from daam.runs.stages import REUSED, TRAINED, SharedStage, StageSavings, stage_savings
from daam.runs.worker import train_from, train_run, train_scored, validation_scoring
from daam.storage import Store, open_store
from daam.storage.local import LocalStore
from daam.training.setup.assemble import assemble
from tests.support.staged_run import NUM_EPOCHS, NUM_SOURCE_EPOCHS, config_of
from tests.support.tiny_runs import same


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small lose by sharing their work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(tiny_root: Path) -> RunConfig:
    return config_of(tiny_root)


def state_of(folder: Store) -> dict[str, Any]:
    return trained(folder.uri)[1]


def undisturbed(config: RunConfig, folder: Path) -> dict[str, Any]:
    """The last state of a run that trains everything itself."""
    store = LocalStore(folder)
    list(train_run(store, config))
    return state_of(store)


def epochs(rows: list[dict[str, Any]], name: str) -> list[int]:
    """The epochs whose metrics have that name."""
    return [row["epoch"] for row in rows if name in row]


def test_runs_of_one_source_stage_train_it_once_and_end_as_if_alone(
    config: RunConfig, store: Store, tmp_path: Path
) -> None:
    stages, source_epochs = store.child("stages"), list(range(1, NUM_SOURCE_EPOCHS + 1))
    first = list(train_run(store.child("first"), config, stages=stages))
    assert (epochs(first, TRAINED), epochs(first, REUSED)) == (source_epochs, [])
    other = with_settings(
        config,
        {
            "transfer": "plaza->station",
            "loss.target.eps": 0.6,
            "loss.target.triplet_weight": 1.0,
            "evaluation.hold_out": True,
            "optimiser.adaptation_rate": 0.5,
        },
    )
    second = list(train_run(store.child("second"), other, stages=stages))
    assert [row["epoch"] for row in second] == list(range(1, NUM_EPOCHS + 1))
    assert (epochs(second, TRAINED), epochs(second, REUSED)) == ([], source_epochs)
    for row, own in zip(second[:NUM_SOURCE_EPOCHS], first, strict=False):
        assert row["loss/identity"] == own["loss/identity"]
        assert not [name for name in row if name.startswith("diagnostic/")]  # of another target
    assert same(state_of(store.child("first")), undisturbed(config, tmp_path / "one"))
    assert same(state_of(store.child("second")), undisturbed(other, tmp_path / "other"))
    assert read_reports(store.child("second")) == second
    assert len({key.split("/")[0] for key in stages.list()}) == 1


def test_a_run_resumes_without_the_stages_it_began_with(
    config: RunConfig, store: Store, tmp_path: Path
) -> None:
    list(train_run(store.child("first"), config, stages=store.child("stages")))
    rows = train_run(store.child("second"), config, stages=store.child("stages"))
    next(rows)
    rows.close()
    assert [row["epoch"] for row in train_run(store.child("second"), config)] == [4, 5]
    assert same(state_of(store.child("second")), undisturbed(config, tmp_path / "alone"))


def test_a_stage_whose_run_was_stopped_is_trained_to_its_end_by_the_next(
    config: RunConfig, store: Store, tmp_path: Path
) -> None:
    stages = store.child("stages")
    stopped = train_run(store.child("first"), config, stages=stages)
    next(stopped)
    stopped.close()
    second = list(train_run(store.child("second"), config, stages=stages))
    assert (epochs(second, REUSED), epochs(second, TRAINED)) == ([1], [2, 3])
    assert same(state_of(store.child("second")), undisturbed(config, tmp_path / "alone"))
    # The first one finds more than it had.
    rest = list(train_run(store.child("first"), config, stages=stages))
    assert (epochs(rest, REUSED), epochs(rest, TRAINED)) == ([2, 3], [])
    assert same(state_of(store.child("first")), undisturbed(config, tmp_path / "alone again"))
    reports = read_reports(store.child("first"))
    assert (epochs(reports, TRAINED), epochs(reports, REUSED)) == ([1], [2, 3])


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_run_that_has_trained_in_another_way_gives_and_takes_nothing(
    config: RunConfig, tmp_path: Path, is_shared: bool
) -> None:
    stages, folder = LocalStore(tmp_path / "stages"), LocalStore(tmp_path / "run")
    rows = train_run(folder, config, stages=stages if is_shared else None)
    next(rows)
    rows.close()
    before = {name: stages.read(name) for name in stages.list()}
    torch.set_num_threads(2)  # sums are then rounded in another way, as with other workers
    try:
        rest = list(train_run(folder, config, stages=stages))
    finally:
        torch.set_num_threads(1)
    assert [row["epoch"] for row in rest] == [2, 3, 4, 5]
    assert not epochs(rest, TRAINED)
    assert {name: stages.read(name) for name in stages.list()} == before


def test_epochs_that_were_taken_have_no_score_and_the_others_that_of_a_run_alone(
    config: RunConfig, tmp_path: Path
) -> None:
    config = with_settings(config, {"evaluation.hold_out": True})
    stages, store = LocalStore(tmp_path / "stages"), LocalStore(tmp_path)
    list(train_run(store.child("first"), config, stages=stages))
    alone = list(train_scored(store.child("alone"), config, validation_scoring))
    rows = list(train_scored(store.child("second"), config, validation_scoring, stages=stages))
    assert epochs(rows, "mAP") == epochs(alone, "mAP") == [4, 5]
    assert [row.get("mAP") for row in rows] == [row.get("mAP") for row in alone]
    assert all(row["seconds/score"] > 0 for row in alone)


def test_a_source_run_may_be_a_stage_and_give_one(config: RunConfig, tmp_path: Path) -> None:
    stages = LocalStore(tmp_path / "stages")
    source = with_settings(config, {"stage": "source"})
    list(train_run(LocalStore(tmp_path / "source"), source, stages=stages))
    rows = list(train_run(LocalStore(tmp_path / "run"), config, stages=stages))
    assert epochs(rows, REUSED) == [1, 2, 3]
    again = list(train_run(LocalStore(tmp_path / "again"), source, stages=stages))
    assert epochs(again, REUSED) == [row["epoch"] for row in again] == [1, 2, 3]


def test_a_run_on_its_source_alone_shares_nothing(config: RunConfig, tmp_path: Path) -> None:
    alone = with_settings(
        config,
        {
            "loss.target.kind": "none",
            "loss.domain_similarity.kind": "none",
            "loss.domain_classification.weight": 0.0,
            "loss.warmup_epochs": NUM_EPOCHS,
        },
    )
    rows = list(train_run(LocalStore(tmp_path / "run"), alone, stages=LocalStore(tmp_path / "s")))
    assert len(rows) == NUM_EPOCHS
    assert not LocalStore(tmp_path / "s").list()


@pytest.mark.parametrize("damage", ["checkpoint", "pointer", "missing"])
def test_a_damaged_stage_is_trained_anew(
    config: RunConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    stages, store = LocalStore(tmp_path / "stages"), LocalStore(tmp_path)
    list(train_run(store.child("first"), config, stages=stages))
    (newest,) = (tmp_path / "stages").glob("*/checkpoints/epoch-0003-*.pt")
    if damage == "checkpoint":
        newest.write_bytes(newest.read_bytes()[:-100])
    elif damage == "missing":
        newest.unlink()
    else:
        (newest.parent / "latest.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        second = list(train_run(store.child("second"), config, stages=stages))
    if damage != "pointer":
        assert "training the source stage again" in caplog.text
    assert (epochs(second, REUSED), epochs(second, TRAINED)) == ([], [1, 2, 3])
    assert same(state_of(store.child("second")), state_of(store.child("first")))
    third = list(train_run(store.child("third"), config, stages=stages))
    assert epochs(third, REUSED) == [1, 2, 3]


def test_a_slow_twin_does_not_put_a_stage_back(config: RunConfig, tmp_path: Path) -> None:
    stages, store = LocalStore(tmp_path / "stages"), LocalStore(tmp_path)
    list(train_run(store.child("first"), config, stages=stages))
    (key,) = {name.split("/")[0] for name in stages.list()}
    before = {name: stages.read(name) for name in stages.list()}
    # As if both had held the claim: it begins before the stage is there, and stores it after.
    run = assemble(config)
    twin = train_from(store.child("twin"), run, stages=LocalStore(tmp_path / "other"))
    next(twin)
    stage = SharedStage(store=stages.child(key), key=key, num_epochs=NUM_SOURCE_EPOCHS)
    stage.keep(run, store.child("twin"))
    twin.close()
    assert {name: stages.read(name) for name in stages.list()} == before


def test_what_was_reused_is_summed_up_from_the_reports(config: RunConfig, tmp_path: Path) -> None:
    stages, store = LocalStore(tmp_path / "stages"), LocalStore(tmp_path)
    runs = [store.child(name) for name in ("a", "b", "c", "plain")]
    assert stage_savings([read_reports(folder) for folder in runs]) == StageSavings(
        num_trained=0, num_reused=0, seconds_trained=0, seconds_saved=0
    )
    for folder in runs[:3]:
        list(train_run(folder, config, stages=stages))
    list(train_run(runs[3], config))
    savings = stage_savings([read_reports(folder) for folder in runs])
    assert (savings.num_trained, savings.num_reused) == (1, 2)
    assert savings.seconds_trained > 0
    assert savings.seconds_saved == pytest.approx(2 * savings.seconds_trained)


def test_a_local_stage_is_for_its_owner_alone(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = LocalStore(tmp_path / "stages")
    list(train_run(LocalStore(tmp_path / "run"), config, stages=stages))
    (folder,) = (tmp_path / "stages").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(StorageError, match="is not a folder of yours; name another one for stages"):
        list(train_run(LocalStore(tmp_path / "other"), config, stages=stages))


def test_stages_that_cannot_be_stored_are_named(config: RunConfig, tmp_path: Path) -> None:
    stages = LocalStore(tmp_path / "stages")
    Path(stages.uri).touch()
    with pytest.raises(StorageError, match=r"cannot create .*stages.*name a folder of yours"):
        list(
            train_run(LocalStore(tmp_path / "run"), config, stages=LocalStore(tmp_path / "stages"))
        )


def test_a_stage_says_what_its_key_is_made_from(config: RunConfig, store: Store) -> None:
    list(train_run(store.child("run"), config, stages=store.child("stages")))
    (key,) = [name for name in store.child("stages").list() if name.endswith("/stage.json")]
    described = json.loads(store.child("stages").read(key))
    assert described["settings"]["loss.triplet.weight"] == config.loss.triplet.weight
    assert described["num_epochs"] == NUM_SOURCE_EPOCHS
    assert described["software"]["torch"] == torch.__version__
    stage = store.child("stages").child(key.split("/")[0])
    entry = latest_checkpoint(stage.child("checkpoints"))
    assert entry is not None
    assert entry.num_epochs_done == NUM_SOURCE_EPOCHS


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims in an object store whose holder is soon given up."""
    monkeypatch.setattr(claims, "BEAT_S", 0.1)
    monkeypatch.setattr(claims, "DEAD_AFTER_S", 1.0)


def acquired(claim: claims.Claim, *, within_s: float) -> bool:
    """Try for a while."""
    for _ in range(int(within_s / 0.1)):
        if claim.acquire():
            return True
        time.sleep(0.1)
    return False


def test_a_claim_has_one_holder_and_passes_on_when_it_is_released(store: Store, quick) -> None:
    store.write("stage.json", b"{}")
    first, second = claim_on(store), claim_on(store)
    second.release()  # as for a stage that was finished before
    assert first.acquire()
    assert not acquired(second, within_s=2)
    first.release()
    assert acquired(second, within_s=2)
    assert not first.acquire()
    second.release()
    assert first.acquire()
    first.release()


def test_on_a_file_system_without_locks_every_claim_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "flock", flock)
    first, second = claim_on(LocalStore(tmp_path)), claim_on(LocalStore(tmp_path))
    assert first.acquire()
    assert second.acquire()
    assert "stage.lock cannot be locked ([Errno" in caplog.text
    first.release()
    second.release()


def test_a_holder_that_no_longer_moves_loses_its_claim(
    s3_uri: str, quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3_uri)
    first, second = claim_on(store), claim_on(store)
    with monkeypatch.context() as stuck:
        stuck.setattr(claims.StoredClaim, "_beat", lambda _: None)
        assert first.acquire()
    assert not second.acquire()
    time.sleep(1.2)
    assert acquired(second, within_s=3)
    first.release()  # it had only been slow: what it no longer has stays
    assert store.exists("claim.json")
    second.release()
    assert not store.exists("claim.json")
