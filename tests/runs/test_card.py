"""A run's card says what it learnt from and what is known about it, and no more."""

import json
from pathlib import Path

import pytest

from daam.config.schema import RunConfig
from daam.errors import CheckpointError
from daam.runs import results
from daam.runs.card import CARD, card_text, write_card
from daam.runs.results import read_results, record_result
from daam.runs.run_folder import append_report, start_run
from daam.storage import Store, open_store
from daam.storage.local import LocalStore
from tests.support.commands import Launch
from tests.support.results import LABELLED, SCORES


@pytest.fixture
def run(tiny_config: RunConfig, tmp_path: Path) -> Store:
    """A run that was started and trained for no epoch yet."""
    return start_run(str(tmp_path / "tiny"), tiny_config)


def test_a_new_run_has_its_data_and_settings_and_says_that_nothing_was_measured(run: Store) -> None:
    text = card_text(run)
    assert "# Model card: tiny" in text
    assert "| plaza | source, with labels | 72 | 2 | market1501 |" in text
    assert "| campus | target, without labels | 72 | 2 | market1501 |" in text
    assert "Nothing was measured yet" in text
    assert "| `model.backbone` | tiny |" in text
    assert "data.root" not in text  # a path of one machine
    assert "## Limits" in text
    assert "## Consent" in text


def test_what_was_found_out_is_in_it(run: Store) -> None:
    groups = {"diagnostic/num_groups": 12.0, "diagnostic/silhouette": 0.25}
    append_report(run, {"epoch": 1, "num_epochs": 2, "seconds": 2.5, **groups})
    record_result(run, domain="campus", kind="scores", document=SCORES)
    record_result(run, domain="campus", kind="labelled", document=LABELLED)
    text = run.read(CARD).decode()
    assert "1 of 2 epochs" in text
    assert "mAP 0.532, rank-1 0.610 over 18 queries" in text
    assert "Threshold 0.3214 (cosine distance) for a false-match rate of 0.001" in text
    assert "the same person in 70% (60% to 79%)" in text
    assert "| groups among the target's images | 12 |" in text
    assert "Nothing was measured" not in text


def test_a_result_replaces_the_one_before(run: Store) -> None:
    for value in (0.4, 0.6):
        document = SCORES | {"mean_average_precision": value}
        record_result(run, domain="campus", kind="scores", document=document)
    assert read_results(run)["campus", "scores"]["mean_average_precision"] == 0.6
    assert "mAP 0.600" in run.read(CARD).decode()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_result_is_left_out_and_said(
    run: Store, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    run.write("results/campus.scores.json", content)
    assert read_results(run) == {}
    assert "campus.scores.json is damaged" in caplog.text
    write_card(run)


def test_a_folder_that_may_not_be_written_fails_no_command(
    run: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise results.StorageError("read-only")

    monkeypatch.setattr(LocalStore, "write", refuse)
    record_result(run, domain="campus", kind="scores", document=SCORES)
    assert "not kept in the run's folder: read-only" in caplog.text


def test_domains_that_are_gone_are_named(tiny_config: RunConfig, tmp_path: Path) -> None:
    data = tiny_config.data.model_copy(update={"root": str(tmp_path / "gone")})
    folder = start_run(str(tmp_path / "run"), tiny_config.model_copy(update={"data": data}))
    assert "| plaza | source, with labels | not readable when this was written |" in card_text(
        folder
    )


def test_no_run_no_card(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        card_text(open_store(str(tmp_path)))


def test_evaluate_and_export_write_it(command: Launch, tiny_run: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    store = open_store(str(copy))
    original = open_store(tiny_run)
    for key in original.list():
        store.write(key, original.read(key))
    done = command(
        "evaluate", "--checkpoint", str(copy), "--domain", "campus", "--to", str(tmp_path / "e")
    )
    assert done.code == 0, done.err
    scores = json.loads((tmp_path / "e" / "scores.json").read_text())
    assert f"mAP {scores['mean_average_precision']:.3f}" in (copy / CARD).read_text()
    model = tmp_path / "out" / "embedder.pt2"
    done = command("export", "--checkpoint", str(copy), "--format", "torch", "--to", str(model))
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "embedder.card.md").read_text() == card_text(store)
