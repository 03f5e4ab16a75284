"""Metrics in experiment trackers; the packages of other people's services are played by fakes."""

import struct
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tensorboardX.proto import event_pb2

from daam.config.schema import RunConfig
from daam.errors import ConfigError
from daam.runs import tracking
from daam.runs.tracking import TRACKERS, TrackerName, tracked
from daam.storage import Store

ROW = {"epoch": 3, "loss/total": 1.5, "warnings": ["not a number"]}


def events(folder: Store) -> Iterator[Any]:
    """The records of all event files: length and its checksum, content and its checksum."""
    for key in folder.list("tensorboard/"):
        content, at = folder.read(key), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            record = content[at + 12 : at + 12 + size]
            yield event_pb2.Event.FromString(record)  # pyright: ignore[reportAttributeAccessIssue]
            at += 12 + size + 4


class Fake:
    """A package that keeps its calls, and fails at some."""

    def __init__(self, *, failing: str = "") -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> None:
            self.calls.append((name, given, named))
            if name == self._failing:
                raise RuntimeError("the server is gone")

        return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(name: str, **settings: Any) -> Fake:
        module = Fake(**settings)
        monkeypatch.setattr(tracking, "import_module", {name: module}.__getitem__)
        return module

    return install


def test_event_files_lie_in_the_runs_folder_after_every_epoch(
    store: Store, tiny_config: RunConfig
) -> None:
    with tracked("tensorboard", store, tiny_config) as send:
        send(ROW)
        assert len(store.list("tensorboard/")) == 1
        send(ROW | {"epoch": 4})
        found = list(events(store))
    values = [(event.step, value) for event in found for value in event.summary.value]
    assert {(step, value.tag, value.simple_value) for step, value in values} == {
        (3, "epoch", 3.0),
        (3, "loss/total", 1.5),
        (4, "epoch", 4.0),
        (4, "loss/total", 1.5),
    }
    # What an interrupted run had logged of these epochs is void.
    assert [event.step for event in found if event.session_log.status == 1] == [3, 4]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_weights_and_biases_and_trackio_get_settings_and_numbers(
    name: str, fake: Any, store: Store, tiny_config: RunConfig
) -> None:
    module = fake(name)
    with tracked(name, store, tiny_config) as send:
        send(ROW)
    (begin, _, settings), *rest = module.calls
    assert begin == "init"
    assert settings["config"]["optimiser"]["num_epochs"] == 2
    assert rest == [("log", ({"epoch": 3, "loss/total": 1.5},), {"step": 3}), ("finish", (), {})]


def test_mlflow_gets_settings_as_parameters(
    fake: Any, store: Store, tiny_config: RunConfig
) -> None:
    module = fake("mlflow")
    with tracked("mlflow", store, tiny_config) as send:
        send(ROW)
    calls = {name: (given, named) for name, given, named in module.calls}
    assert list(calls) == ["set_experiment", "start_run", "log_params", "log_metrics", "end_run"]
    assert calls["log_params"][0][0]["optimiser.num_epochs"] == 2
    assert calls["log_metrics"] == (({"epoch": 3, "loss/total": 1.5},), {"step": 3})


@pytest.mark.parametrize("failing", ["log", "finish"])
def test_a_tracker_that_fails_is_left_out_with_one_warning(
    failing: str,
    fake: Any,
    store: Store,
    tiny_config: RunConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module = fake("wandb", failing=failing)
    with tracked("wandb", store, tiny_config) as send:
        send(ROW)
        send(ROW)
    assert [record.getMessage() for record in caplog.records] == [
        "--track wandb failed, the run goes on without it: the server is gone"
    ]
    names = [name for name, _, _ in module.calls]
    assert names == (["init", "log"] if failing == "log" else ["init", "log", "log", "finish"])


def test_what_cannot_be_used_is_refused_before_training(
    fake: Any, store: Store, tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(name: str) -> None:
        with tracked(name, store, tiny_config):
            raise AssertionError("it was opened")

    with pytest.raises(ConfigError, match="the trackers are tensorboard, mlflow, wandb, trackio"):
        opened("paper")
    fake("wandb", failing="init")
    with pytest.raises(ConfigError, match="--track wandb refused the run: the server is gone"):
        opened("wandb")
    monkeypatch.undo()
    for name in ("mlflow", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=rf"not installed .*pip install '\.\[{name}\]'"):
            opened(name)


def test_every_name_has_a_tracker() -> None:
    assert list(TRACKERS) == list(TrackerName)
