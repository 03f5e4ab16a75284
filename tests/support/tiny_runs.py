"""Settings of runs that train in a second, and how two runs are compared."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from daam.config.load import nested, read_preset, run_config
from daam.config.schema import RunConfig
from daam.training.loop import EpochReport
from daam.training.setup.assemble import Run
from tests.support.tiny_domains import TINY_RUN

PRESETS = ("daam_v2", "source_only")


def tiny_config(
    root: Path, changes: Mapping[str, Any] | None = None, *, preset: str = "daam_v2"
) -> RunConfig:
    """Settings of `plaza->campus` on a CPU.

    Args:
        root: the store of the two domains; the cache is beside it.
        changes: dotted paths and values.
        preset: one of daam's.
    """
    fixed = {
        "transfer": "plaza->campus",
        "data.root": str(root),
        "data.cache": str(root.parent / "cache"),
        "compute.device": "cpu",
        "evaluation.batch_size": 16,
    }
    return run_config(
        tomllib.loads(TINY_RUN), read_preset(preset), nested({**fixed, **(changes or {})})
    )


def weights_of(run: Run) -> dict[str, Tensor]:
    """A copy of the network's weights and statistics."""
    return {name: value.detach().clone() for name, value in run.network.state_dict().items()}


def untimed_metrics(reports: Iterable[EpochReport]) -> list[dict[str, float]]:
    """The metrics of reports, without the seconds they took."""
    return [
        {
            name: value
            for name, value in report.as_metrics().items()
            if not name.startswith("seconds")
        }
        for report in reports
    ]


def numbers_of(metrics: Mapping[str, Any]) -> list[float]:
    """The values of an epoch's metrics that are no text."""
    return [value for value in metrics.values() if not isinstance(value, list)]


def same(one: Any, other: Any) -> bool:
    """Whether two trees of tensors and plain values are equal to the bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list | tuple):
        return (
            isinstance(other, list | tuple)
            and len(one) == len(other)
            and all(map(same, one, other))
        )
    return one == other
