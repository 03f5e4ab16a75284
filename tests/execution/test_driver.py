"""What the error says when the process that drives a run's workers is lost."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from daam.errors import TrainingError
from daam.execution.driver import Restarts, raise_failure
from daam.runs.attempts import ATTEMPTS
from daam.runs.fences import Owner
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
        append_report(folder, {"epoch": epoch + 1, "num_epochs": 2, "seconds": 2.0})
    run: Any = object()
    with pytest.raises(TrainingError, match=advice):
        raise_failure(run, folder)


def test_each_start_of_the_workers_but_the_first_is_a_line_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = open_store(str(tmp_path))

    def begin(number: int, *, epoch: int, num_workers: int) -> None:
        owner = Owner.this_process(epoch=epoch, num_workers=num_workers)
        folder.write(f"{ATTEMPTS}/{number:04d}.json", json.dumps(asdict(owner)).encode())

    begin(1, epoch=0, num_workers=4)  # of an earlier session
    restarts = Restarts(folder, most=4)
    begin(2, epoch=3, num_workers=4)
    restarts.say()
    assert not caplog.messages
    begin(3, epoch=5, num_workers=2)
    begin(4, epoch=9, num_workers=4)
    restarts.say()
    begin(5, epoch=12, num_workers=4)
    restarts.say()
    restarts.say()
    assert caplog.messages == [
        "A worker was lost: 2 of 4 workers train from epoch 6 on",
        "There is room for more: 4 of 4 workers train from epoch 10 on",
        "The workers were started again: 4 of 4 workers train from epoch 13 on",
    ]
