"""A trial ends with a score, or with the reason why it has none."""

from pathlib import Path
from typing import Any

import pytest
import ray.tune

from daam.config.schema import RunConfig
from tune.launching import FAILURE
from tune.trial import TrialPlan, run_trial


@pytest.mark.parametrize("num_workers", [1, 2])
def test_parameters_that_do_not_go_together_are_told_as_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(ray.tune, "report", told.append)
    plan = TrialPlan(
        study_uri=str(tmp_path),
        run=RunConfig().model_dump(),
        transfers=("plaza->campus",),
        aggregate="mean",
        num_workers=num_workers,
        scratch=str(tmp_path),
    )
    # Each may be searched: the ends of every range are tried one at a time.
    parameters = {"loss.target.kind": "exemplar", "teacher.labels": True}
    run_trial({"number": 0, "parameters": parameters}, plan=plan)
    (result,) = told
    assert "teacher.labels = true has no groups to make" in result[FAILURE]
