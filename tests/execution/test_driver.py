"""What the error says when the process that drives a run's workers is lost."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from daam.errors import TrainingError
from daam.execution.driver import raise_failure
from daam.runs.run_folder import append_report
from daam.storage import open_store


@pytest.mark.parametrize("lost", [WorkerCrashedError(), OutOfMemoryError("too much")])
@pytest.mark.parametrize(
    ("num_epochs_done", "advice"), [(0, "give the same command again"), (1, "train --resume")]
)
def test_the_error_of_a_lost_driver_says_how_to_resume(
    lost: Exception,
    num_epochs_done: int,
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get(_: Any) -> None:
        raise lost

    monkeypatch.setattr(ray, "get", get)
    folder = open_store(str(tmp_path))
    for epoch in range(num_epochs_done):
        append_report(folder, {"epoch": epoch + 1})
    run: Any = object()
    with pytest.raises(TrainingError, match=advice):
        raise_failure(run, folder)
