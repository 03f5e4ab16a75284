"""The folder of a run: it is started once, gone on with, and its settings hold everywhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import daam
from daam.config.load import run_config, with_settings
from daam.config.schema import RunConfig
from daam.errors import CheckpointError, ConfigError, TrainingError
from daam.runs import run_folder
from daam.runs.checkpoint import latest_checkpoint
from daam.runs.run_folder import (
    CONFIG,
    append_report,
    open_run,
    portable,
    read_reports,
    start_from,
    start_run,
    trained,
)
from daam.runs.worker import resume_run, train_from, train_run
from daam.storage import Store
from daam.storage.local import LocalStore


def test_a_run_is_opened_with_the_settings_it_was_started_with(store: Store) -> None:
    config = run_config({"transfer": "campus->plaza", "optimiser": {"num_epochs": 12}})
    start_run(store.uri, config)
    assert open_run(store) == portable(config)


def test_a_run_is_not_started_over_another(store: Store) -> None:
    start_run(store.uri, RunConfig())
    before = store.read(CONFIG)
    with pytest.raises(TrainingError, match=rf"already; resume it \(--resume {store.uri}; "):
        start_run(store.uri, RunConfig(seed=2))
    assert store.read(CONFIG) == before


def test_a_run_may_go_on_with_other_workers(store: Store) -> None:
    start_run(store.uri, RunConfig())
    assert open_run(store, num_workers=4).compute.num_workers == 4
    with pytest.raises(ConfigError, match="cannot be divided among"):
        open_run(store, num_workers=5)


def test_a_run_that_needs_two_workers_may_go_on_with_one(store: Store) -> None:
    compute = {"num_workers": 4, "min_workers": 2}
    start_run(store.uri, RunConfig.model_validate({"compute": compute}))
    assert open_run(store, num_workers=1).compute.min_workers == 1
    assert open_run(store, num_workers=8).compute.min_workers == 2


def test_a_folder_without_a_run_is_named(store: Store) -> None:
    with pytest.raises(TrainingError, match=f"there is no run in {store.uri}"):
        open_run(store)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        trained(store.uri)


def test_portable_settings_hold_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.pt").touch()
    settings = {"data.root": "domains", "data.cache": "cache", "model.weights": "weights.pt"}
    config = portable(with_settings(RunConfig(), settings))
    assert config.data.root == str(tmp_path / "domains")
    assert config.data.cache == str(tmp_path / "cache")
    assert config.model.weights == str(tmp_path / "weights.pt")
    assert portable(config) == config


def test_portable_leaves_what_is_no_local_path_as_it_is() -> None:
    config = portable(with_settings(RunConfig(), {"data.root": "s3://bucket/domains"}))
    assert config.data.root == "s3://bucket/domains"
    assert config.model.weights == "imagenet"
    stored = with_settings(config, {"model.weights": "s3://bucket/resnet50.pt"})
    assert portable(stored) == stored
    assert config.data.cache == "~/.cache/daam"


def a_row(epoch: int, **metrics: float) -> dict[str, float]:
    return {"epoch": epoch, "num_epochs": 3, "seconds": 2.0, **metrics}


def test_reports_are_kept_in_order_and_an_epoch_done_again_replaces_what_came_after(
    store: Store,
) -> None:
    assert read_reports(store) == []
    for epoch in (1, 2, 3):
        append_report(store, a_row(epoch, loss=10.0 * epoch))
    append_report(store, a_row(2, loss=5.0))
    assert read_reports(store) == [a_row(1, loss=10.0), a_row(2, loss=5.0, repeats=1)]


class Rewritten(LocalStore):
    """A folder whose file is seen half-written once, as on a server without atomic writes."""

    num_reads = 0

    def read_document(self, key: str) -> bytes:
        self.num_reads += 1
        content = super().read_document(key)
        return content[: len(content) // 2] if self.num_reads == 1 else content


def test_reports_that_are_being_written_are_read_again(tmp_path: Path) -> None:
    append_report(LocalStore(tmp_path), a_row(1, loss=2.0))
    assert read_reports(Rewritten(tmp_path)) == [a_row(1, loss=2.0)]


def test_damaged_reports_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "REWRITTEN_WITHIN_S", 0.0)
    (tmp_path / "reports.json").write_text('[{"epoch"')
    with pytest.raises(TrainingError, match=r"reports\.json is damaged .* resume the run"):
        read_reports(LocalStore(tmp_path))


def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(
    tiny_config: RunConfig, tmp_path: Path
) -> None:
    whole = start_run(str(tmp_path / "whole"), tiny_config)
    epochs = list(train_run(whole, tiny_config))
    folder = start_run(str(tmp_path / "cut"), tiny_config)
    interrupted = train_run(folder, tiny_config)
    first = next(interrupted)
    assert isinstance(interrupted, Iterator)
    del interrupted
    second = list(train_run(folder, open_run(folder)))
    assert [row["epoch"] for row in (first, *second)] == [row["epoch"] for row in epochs] == [1, 2]
    for key in (name for name in epochs[-1] if not name.startswith("seconds")):
        assert second[-1][key] == epochs[-1][key]
    assert_same_weights(folder, whole)
    assert [row["epoch"] for row in read_reports(folder)] == [1, 2]


def test_a_run_that_is_done_has_nothing_left_to_do(tiny_config: RunConfig, tmp_path: Path) -> None:
    folder = start_run(str(tmp_path / "run"), tiny_config)
    assert len(list(train_run(folder, tiny_config))) == 2
    before = {key: folder.read(key) for key in folder.list()}
    assert list(train_run(folder, tiny_config)) == []
    after = {key: folder.read(key) for key in folder.list()}
    assert after.pop("attempts/0002.json")
    assert after == before


def test_an_epoch_that_is_yielded_is_stored_already(tiny_config: RunConfig, store: Store) -> None:
    for metrics in train_from(store, resume_run(store, tiny_config)):
        entry = latest_checkpoint(store.child("checkpoints"))
        assert entry is not None
        assert entry.num_epochs_done == metrics["epoch"] == len(read_reports(store))


def test_a_checkpoint_of_other_settings_is_not_gone_on_with(
    tiny_config: RunConfig, tmp_path: Path
) -> None:
    folder = start_run(str(tmp_path / "run"), tiny_config)
    list(train_run(folder, tiny_config))
    other = with_settings(tiny_config, {"optimiser.learning_rate": 0.5})
    with pytest.raises(CheckpointError, match=r"other settings: optimiser\.learning_rate"):
        list(train_run(folder, other))


def test_a_run_from_a_source_run_ends_as_one_that_trained_it_all(
    tiny_config: RunConfig, tmp_path: Path
) -> None:
    whole = start_run(str(tmp_path / "whole"), tiny_config)
    epochs = list(train_run(whole, tiny_config))
    of_source = with_settings(tiny_config, {"transfer": "plaza->station", "stage": "source"})
    source = start_run(str(tmp_path / "source"), of_source)
    assert [row["num_epochs"] for row in train_run(source, of_source)] == [1]
    folder = start_run(str(tmp_path / "run"), tiny_config)
    start_from(folder, source.uri, tiny_config)
    second = list(train_run(folder, tiny_config))
    assert [row["epoch"] for row in second] == [2]
    assert_same_weights(folder, whole)
    taken, trained_here = read_reports(folder)
    assert taken["loss/total"] == epochs[0]["loss/total"]
    assert (taken["epoch"], taken["num_epochs"]) == (1, 2)
    assert not [name for name in taken if name.startswith("diagnostic/")]  # of another target
    assert trained_here["diagnostic/num_groups"] == epochs[1]["diagnostic/num_groups"]


def test_a_refused_start_leaves_nothing(tiny_config: RunConfig, tmp_path: Path) -> None:
    of_source = with_settings(tiny_config, {"stage": "source", "seed": 5})
    source = daam.train(of_source, to=tmp_path / "source")
    with pytest.raises(CheckpointError, match="another source stage than this run would: seed"):
        daam.train(tiny_config, to=tmp_path / "run", start_from=source.folder)
    assert not LocalStore(tmp_path / "run").list()


def test_an_s3_run_loads_from_anywhere(tiny_config: RunConfig, s3_uri: str) -> None:
    folder = start_run(s3_uri, tiny_config)
    list(train_run(folder, tiny_config))
    config, state = trained(s3_uri)
    assert config == tiny_config
    assert state["num_epochs_done"] == 2


def test_a_run_of_several_sources_is_stored_and_loaded_by_its_name(
    tiny_config: RunConfig, s3_uri: str
) -> None:
    config = with_settings(tiny_config, {"transfer": "plaza+station->campus"})
    folder = start_run(f"{s3_uri}/plaza+station-campus", config)
    list(train_run(folder, config))
    assert trained(folder.uri)[1]["num_identities"] == 24


def assert_same_weights(one: Store, other: Store) -> None:
    """Bit for bit."""
    (_, first), (_, second) = trained(one.uri), trained(other.uri)
    assert first["network"].keys() == second["network"].keys()
    for name, weight in first["network"].items():
        assert torch.equal(weight, second["network"][name]), name
