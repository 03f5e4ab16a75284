"""What runs and studies found, without what depends on where and when they ran."""

import json
from pathlib import Path
from typing import Any

from daam.runs.run_folder import read_reports
from daam.storage import open_store

OF_A_TRIAL = ("name", "state", "parameters", "score", "scores", "score_by_epoch")
OF_THE_WAY = ("seconds", "stage/", "repeats")  # what depends on when and where it ran


def study_outcome(folder: Path) -> dict[str, Any]:
    """Return all numbers that a study found, to the last digit, epoch by epoch."""
    document = json.loads((folder / "study.json").read_text())
    contenders = (document.get("holdout") or {}).get("contenders", {})
    return {
        "trials": [{key: trial[key] for key in OF_A_TRIAL} for trial in document["trials"]],
        "contenders": {name: found["scores"] for name, found in contenders.items()},
        "epochs": {
            str(reports.parent.relative_to(folder)): epochs(reports.parent)
            for part in ("trials", "race", "holdout")
            for reports in sorted((folder / part).rglob("reports.json"))
        },
    }


def epochs(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run's epochs so far, without how it came to them."""
    return [
        {name: value for name, value in row.items() if not name.startswith(OF_THE_WAY)}
        for row in read_reports(open_store(str(run)))
    ]
