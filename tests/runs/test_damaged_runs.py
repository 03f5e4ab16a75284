"""The folder of a run that was damaged: what is read is right, or one line says what is wrong."""

import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from daam.config.load import run_config
from daam.config.schema import RunConfig
from daam.errors import DaamError, StorageError, TrainingError
from daam.inference.search.threshold import measured_threshold
from daam.runs import run_folder
from daam.runs.card import card_text, results_in_words
from daam.runs.checkpoint import (
    CHECKPOINTS,
    POINTER,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from daam.runs.report.comparison import compare_runs, comparison_page, figures_of
from daam.runs.report.page import report_page
from daam.runs.results import read_scores
from daam.runs.run_folder import CONFIG, REPORTS, SCORES, open_run, read_reports, trained
from daam.runs.worker import train_run
from daam.storage.local import LocalStore
from daam.training.setup.assemble import Run, assemble
from daam.training.state import load_state_dict, trained_network
from tests.support.damage import changed, damaged_bytes, damaged_json, paths_of, without
from tests.support.results import ASSESSED, LABELLED
from tests.support.results import SCORES as MEASURED

TENSORS = {
    "sparse": torch.zeros(3, 3).to_sparse(),
    "meta": torch.zeros(3, 3, device="meta"),
    "repeated": torch.zeros(1).expand(10**9, 10**3),
    "NaN": torch.full((3,), torch.nan),
    "integers": torch.ones(3, dtype=torch.int32),
    "empty": torch.zeros(0),
    "one number": torch.tensor(1.0),
}
VALUES = (None, True, -1, 10**12, 0.5, "text", [], {}, {"a": {"b": 1}}, *TENSORS.values())


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "REWRITTEN_WITHIN_S", 0.0)


@pytest.fixture
def folder(tiny_run: str, tmp_path: Path) -> LocalStore:
    """A finished run of two epochs, to be damaged."""
    shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("results"))
    return LocalStore(tmp_path / "run")


def read_all(folder: LocalStore) -> None:
    """Read a run as all commands do that only read it."""
    for row in read_reports(folder):
        assert row["epoch"] > 0
        assert 0 <= row.get("mAP", 0.0) <= 1
    report_page(folder)
    card_text(folder)
    comparison_page(compare_runs([folder, folder]))


def is_refused(folder: LocalStore) -> bool:
    try:
        read_all(folder)
    except DaamError:
        return True
    return False


def test_settings_and_reports_that_are_damaged(folder: LocalStore) -> None:
    num_refused = 0
    config, reports = folder.read(CONFIG), folder.read(REPORTS)
    variants = [(CONFIG, damaged) for damaged in damaged_bytes(config)]
    rows = json.dumps(json.loads(reports)[-1:]).encode()
    variants += [(REPORTS, damaged) for damaged in damaged_json(rows)]
    for key, (_, content) in variants:
        folder.write(CONFIG, config)
        folder.write(REPORTS, reports)
        folder.write(key, content)
        num_refused += is_refused(folder)
    assert num_refused > 100


@pytest.mark.parametrize(
    ("old", "new"),
    [('"mAP": 0.5', f'"mAP": {bad}') for bad in ("7", "true", "NaN", "-0.1", '"0.5"', "null")]
    + [
        ('"epoch": 2', '"epoch": 1'),
        ('"epoch": 2', '"epoch": true'),
        ('"seconds": 1', '"seconds": -1'),
        ('"loss/total": 1', '"loss/total": Infinity'),
    ],
)
def test_impossible_metrics_are_no_result(folder: LocalStore, old: str, new: str) -> None:
    text = (
        '[{"epoch": 1, "num_epochs": 2, "seconds": 1.0, "loss/total": 1.0}, '
        '{"epoch": 2, "num_epochs": 2, "seconds": 1.5, "loss/total": 1.5, "mAP": 0.5}]'
    )
    folder.write(REPORTS, text.encode())
    assert read_reports(folder)[1]["mAP"] == 0.5
    folder.write(REPORTS, text.replace(old, new).encode())
    with pytest.raises(TrainingError, match=r"reports\.json is damaged \(.*; delete it and resume"):
        read_reports(folder)


@pytest.mark.parametrize(
    ("kind", "document"),
    [("scores", MEASURED), ("labelled", LABELLED), ("assessment", ASSESSED)],
)
def test_results_that_are_damaged(
    folder: LocalStore, tiny_config: RunConfig, kind: str, document: dict[str, Any]
) -> None:
    key = f"results/campus.{kind}.json"
    num_read = 0
    for _, content in damaged_json(json.dumps(document).encode()):
        folder.write(key, content)
        num_read += len(results_in_words(folder))  # others are left out, with a warning
        dict(figures_of(folder, [], tiny_config))
        measured_threshold(folder, domain="campus", num_epochs=2)
    folder.delete(key)
    assert num_read < 20
    for _, content in damaged_json(json.dumps(document).encode()):
        folder.write(SCORES, content)
        try:
            dict(figures_of(folder, [], tiny_config))
        except DaamError as error:
            assert "scores.json is damaged" in str(error)  # noqa: PT017


def test_scores_of_a_test_are_those_that_were_written(folder: LocalStore) -> None:
    for kind, document in (("scores", MEASURED), ("assessment", ASSESSED)):
        folder.write(SCORES, json.dumps(document).encode())
        assert read_scores(folder) == (kind, document)


def test_pointers_that_are_damaged(folder: LocalStore) -> None:
    checkpoints = folder.child(CHECKPOINTS)
    content = checkpoints.read(POINTER)
    num_loaded = 0
    for _, damaged in damaged_json(content):
        checkpoints.write(POINTER, damaged)
        try:
            trained(folder.uri)
            num_loaded += 1
        except DaamError:
            pass
    assert num_loaded < 5  # a flipped bit in white space, perhaps


def damaged_states(state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield copies of a checkpoint's content with a value of the wrong kind, or without one."""
    for path in paths_of(state):
        chance = random.Random(repr(path))
        if len(path) > 1 and chance.random() > 0.04:
            continue
        for value in chance.sample(VALUES, 4 if len(path) == 1 else 2):
            yield changed(state, path, lambda _, new=value: new)
        if path:
            yield without(state, path)


def store_state(folder: LocalStore, state: Any) -> None:
    """Store a state as a checkpoint whose seals are right."""
    checkpoints = folder.child(CHECKPOINTS)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    key = "epoch-0002-0123456789abcdef.pt"
    checkpoints.write(key, content)
    entry = {"key": key, "sha256": digest, "num_epochs_done": 2}
    checkpoints.write(POINTER, json.dumps(entry).encode())


def resumed(folder: LocalStore, run: Run) -> None:
    """Load a checkpoint as a run that is resumed does, and as all that embed with it do."""
    checkpoints = folder.child(CHECKPOINTS)
    entry = latest_checkpoint(checkpoints)
    assert entry is not None
    state = load_checkpoint(checkpoints, entry)
    load_state_dict(run, state, where=folder.uri)
    config = run_config(state["config"], where=folder.uri)
    network = trained_network(config, state, where=folder.uri)
    assert all(bool(weight.isfinite().all()) for weight in network.state_dict().values())


def test_checkpoints_whose_content_is_damaged(folder: LocalStore, tiny_config: RunConfig) -> None:
    _, state = trained(folder.uri)
    run = assemble(tiny_config)
    store_state(folder, state)
    resumed(folder, run)
    num_refused = num_tried = 0
    for damaged in damaged_states(state):
        num_tried += 1
        store_state(folder, damaged)
        try:
            resumed(folder, run)
        except DaamError:
            num_refused += 1
    assert num_tried > 50
    assert num_refused > 0.8 * num_tried


def test_checkpoints_whose_bytes_are_damaged(folder: LocalStore) -> None:
    checkpoints = folder.child(CHECKPOINTS)
    entry = latest_checkpoint(checkpoints)
    assert entry is not None
    content = checkpoints.read(entry.key)
    for name, damaged in damaged_bytes(content, is_text=False):
        digest = hashlib.sha256(damaged).hexdigest()
        forged = {"key": entry.key, "sha256": digest, "num_epochs_done": 2}
        checkpoints.write(entry.key, damaged)
        checkpoints.write(POINTER, json.dumps(forged).encode())
        try:
            trained(folder.uri)
        except DaamError:
            continue
        assert name.startswith("a flipped bit")


def test_a_stray_file_beside_checkpoints_does_not_stop_a_run(
    tiny_config: RunConfig, folder: LocalStore
) -> None:
    checkpoints = folder.child(CHECKPOINTS)
    strays = ["epoch-", "epoch-notes.txt", "epoch-0001", "epoch-²-a.pt", "epoch-0002/a-b", "x"]
    for key in strays:
        checkpoints.write(key, b"mine")
    _, state = trained(folder.uri)
    save_checkpoint(checkpoints, state | {"num_epochs_done": 2})
    assert list(train_run(folder, tiny_config)) == []
    assert {*strays} <= {*checkpoints.list()}


@pytest.mark.parametrize(
    ("key", "read"),
    [
        (CONFIG, open_run),
        (REPORTS, read_reports),
        (f"{CHECKPOINTS}/{POINTER}", lambda folder: trained(folder.uri)),
    ],
)
def test_a_folder_in_place_of_a_file_is_named(
    folder: LocalStore, key: str, read: Callable[[LocalStore], object]
) -> None:
    path = Path(folder.uri) / key
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=rf"{path}: it is a folder"):
        read(folder)


def test_a_file_in_place_of_a_folder_is_named(folder: LocalStore) -> None:
    shutil.rmtree(Path(folder.uri) / CHECKPOINTS)
    folder.write(CHECKPOINTS, b"")
    with pytest.raises(StorageError, match="Not a directory"):
        trained(folder.uri)


def test_a_document_of_any_size_does_not_fill_the_memory(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daam.storage.store.MAX_DOCUMENT_BYTES", 1 << 20)
    with (Path(folder.uri) / REPORTS).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StorageError, match=r"reports\.json is larger than 1 MiB"):
        read_reports(folder)
