"""What is said when the process that drives a run's workers is lost."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from daam.errors import TrainingError
from daam.execution import trainer
from daam.execution.trainer import Driver


@pytest.mark.parametrize("lost", [WorkerCrashedError(), OutOfMemoryError("too much")])
@pytest.mark.parametrize(
    ("reports", "advice"),
    [([], "give the same command again"), ([{"epoch": 1.0}], "train --resume")],
)
def test_a_lost_driver_says_how_to_go_on(
    lost: Exception,
    reports: list[dict[str, float]],
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get(_: Any) -> None:
        raise lost

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(trainer, "read_reports", lambda _: reports)
    run: Any = object()
    with pytest.raises(TrainingError, match=advice):
        Driver(run, folder_uri=str(tmp_path)).result()
