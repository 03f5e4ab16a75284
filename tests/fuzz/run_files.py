"""The files in the folder of a run: settings, pointer, checkpoint, reports, scores; and weights."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis.strategies import one_of
from torch import nn

from daam.config.load import to_toml
from daam.config.schema import RunConfig
from daam.model.weights import load_backbone_state, read_state_dict
from daam.runs import run_folder
from daam.runs.checkpoint import CHECKPOINTS, POINTER, latest_checkpoint
from daam.runs.fences import Owner
from daam.runs.report.page import write_report
from daam.runs.results import read_results, read_scores
from daam.runs.run_folder import CONFIG, REPORTS, SCORES, open_run, read_reports, trained
from daam.storage import open_store
from daam.training.setup.network import build_network
from daam.training.state import FORMAT, trained_network
from tests.fuzz.mutations import mutated_bytes, mutated_json, mutated_toml
from tests.fuzz.target import Target
from tests.fuzz.tensors import as_file, mutated_tensors
from tests.support.tiny_runs import tiny_config

NUM_IDENTITIES = 6
SHARES = {"mean_average_precision": 0.5, "mean_inp": 0.25}
SCORES_FOUND = {
    **SHARES,
    "cmc": {"1": 0.5, "5": 1.0, "10": 1.0},
    "num_queries": 4,
    "num_left_out": 0,
}
ROWS = [
    {
        "epoch": epoch,
        "num_epochs": 2,
        "seconds": 1.5,
        "loss/total": 3.25,
        "mAP": 0.5,
        "rank-1": 0.5,
        "num_groups": 4,
        "warnings": ["a warning"],
    }
    for epoch in (1, 2)
]
run_folder.REWRITTEN_WITHIN_S = 0.0  # how long a half-written file is waited for


def settings() -> Target:
    """`config.toml`."""
    samples = [to_toml(_config()).encode()]
    return Target(
        name="settings of a run",
        samples=samples,
        mutated=one_of(mutated_toml(samples), mutated_bytes(samples)),
        read=_read_settings,
    )


def pointer() -> Target:
    """`latest.json`."""
    entry = {"key": f"epoch-0002-{'a' * 16}.pt", "sha256": "a" * 64, "num_epochs_done": 2}
    return _json("pointer to a checkpoint", entry, read=_read_pointer)


def reports() -> Target:
    """`reports.json`, and the page that shows it."""
    return _json("reports of a run", ROWS, read=_read_reports)


def scores() -> Target:
    """`scores.json`."""
    return _json("scores of a run", SCORES_FOUND, read=_read_scores)


def results() -> Target:
    """`results/DOMAIN.scores.json`, and the page that shows it; a damaged one is left out."""
    return _json("results of a run", SCORES_FOUND, read=_read_results)


def owner() -> Target:
    """A lock or lease, which says who has it; of a damaged one nobody knows."""
    this = Owner(host="a", pid=7, machine="b", since="2026-11-30T00:00:00+00:00", token="c" * 16)
    content = {name: getattr(this, name) for name in this.__dataclass_fields__}
    return _json("lock or lease", content, read=_read_owner)


def checkpoint() -> Target:
    """A checkpoint whose SHA-256 is that in `latest.json`."""
    samples = [as_file(_state())]
    return Target(
        name="checkpoint",
        samples=samples,
        mutated=mutated_tensors(samples),
        read=_read_checkpoint,
    )


def weights() -> Target:
    """A file for `model.weights`."""
    state = {name: value.clone() for name, value in _trunk().state_dict().items()}
    samples = [
        as_file(state),
        as_file({"state_dict": {f"module.{k}": v for k, v in state.items()}}),
    ]
    return Target(
        name="weights of a backbone",
        samples=samples,
        mutated=mutated_tensors(samples),
        read=_read_weights,
    )


def _json(name: str, document: Any, *, read: Callable[[bytes, Path], None]) -> Target:
    samples = [json.dumps(document, indent=1).encode()]
    mutated = one_of(mutated_json(samples), mutated_json(samples), mutated_bytes(samples))
    return Target(name=name, samples=samples, mutated=mutated, read=read)


@cache
def _config() -> RunConfig:
    return tiny_config(Path("/data/domains"))


@cache
def _state() -> dict[str, Any]:
    """The state of a run after its last epoch, as `state_dict` returns it."""
    torch.manual_seed(0)
    network = build_network(_config(), num_identities=NUM_IDENTITIES)
    parameters = list(network.parameters())
    optimiser = torch.optim.Adam(parameters)
    for parameter in parameters[:2]:
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    num_channels = network.shared.bottleneck.num_features
    return {
        "format": FORMAT,
        "config": _config().model_dump(),
        "num_epochs_done": 2,
        "source_digest": "a" * 64,
        "target_digest": "b" * 64,
        "windows": (1, 1),
        "num_identities": NUM_IDENTITIES,
        "network": network.state_dict(),
        "teacher": None,
        "optimiser": optimiser.state_dict(),
        "nominal_centre": torch.zeros(num_channels),
        "nominal_spread": None,
        "source_centre": None,
        "exemplars": None,
    }


def _read_settings(data: bytes, folder: Path) -> None:
    (folder / CONFIG).write_bytes(data)
    config = open_run(open_store(str(folder)))
    assert isinstance(config, RunConfig)
    if data == to_toml(_config()).encode():
        assert config == _config()


def _read_pointer(data: bytes, folder: Path) -> None:
    (folder / POINTER).write_bytes(data)
    entry = latest_checkpoint(open_store(str(folder)))
    assert entry is not None
    assert Path(entry.key).name == entry.key
    assert entry.num_epochs_done >= 0


def _read_reports(data: bytes, folder: Path) -> None:
    (folder / CONFIG).write_text(to_toml(_config()))
    (folder / REPORTS).write_bytes(data)
    rows = read_reports(open_store(str(folder)))
    epochs = [row["epoch"] for row in rows]
    assert epochs == sorted(set(epochs))
    assert all(0 <= row.get("mAP", 0) <= 1 for row in rows)
    write_report(open_store(str(folder)))
    assert "\0" not in (folder / "report.html").read_text()


def _read_scores(data: bytes, folder: Path) -> None:
    (folder / SCORES).write_bytes(data)
    kind, found = read_scores(open_store(str(folder)))
    if kind == "scores":
        assert 0 <= found["mean_average_precision"] <= 1


def _read_results(data: bytes, folder: Path) -> None:
    (folder / CONFIG).write_text(to_toml(_config()))
    (folder / REPORTS).write_text(json.dumps(ROWS))
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / "campus.scores.json").write_bytes(data)
    found = read_results(open_store(str(folder)))
    assert all(0 <= each["mean_average_precision"] <= 1 for each in found.values())
    write_report(open_store(str(folder)))


def _read_owner(data: bytes, _: Path) -> None:
    owner = Owner.read(data)
    assert isinstance(str(owner), str)
    assert isinstance(owner.is_dead(), bool)


def _read_checkpoint(data: bytes, folder: Path) -> None:
    checkpoints = folder / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    digest = hashlib.sha256(data).hexdigest()
    entry = {"key": f"epoch-0002-{digest[:16]}.pt", "sha256": digest, "num_epochs_done": 2}
    for old in checkpoints.iterdir():
        old.unlink()
    (checkpoints / entry["key"]).write_bytes(data)
    (checkpoints / POINTER).write_text(json.dumps(entry))
    config, state = trained(str(folder))
    network = trained_network(config, state, where="a file")
    with torch.inference_mode():
        for value in network.state_dict().values():
            assert torch.isfinite(value).all()


def _trunk() -> nn.Module:
    layers = {"conv1": nn.Conv2d(3, 4, 3), "bn1": nn.BatchNorm2d(4), "fc": nn.Linear(4, 2)}
    return nn.ModuleDict(layers)


def _read_weights(data: bytes, folder: Path) -> None:
    path = folder / "weights.pt"
    path.write_bytes(data)
    network = _trunk()
    state = read_state_dict(path, where="weights.pt")
    load_backbone_state(network, state, name="a network", classifier="fc")
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())
