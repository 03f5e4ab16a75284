"""The notebook runs as it is, in a fresh process, and shows what is stored in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "adapt.ipynb"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_notebook_runs_and_shows_what_it_holds(tmp_path: Path) -> None:
    copy = tmp_path / NOTEBOOK.name
    shutil.copy(NOTEBOOK, copy)
    command = [sys.executable, "-m", "tests.support.notebook", str(copy), "--store"]
    # Threads that wait for each other take many times as long beside other tests.
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    stored, found = shown_by(NOTEBOOK), shown_by(copy)
    assert [sorted(data) for data in found] == [sorted(data) for data in stored]
    assert found[0] == stored[0]  # rendered people are the same on every machine
    assert any("image/jpeg" in data for data in stored)
    scores = scores_of(next(data["text/plain"] for data in found if "mAP" in str(data)))
    assert scores["daam_v2"] > scores["source_only"] + 0.1


def shown_by(notebook: Path) -> list[dict[str, Any]]:
    """What each cell shows, by format."""
    return [
        output.get("data") or {"printed": ...}
        for cell in json.loads(notebook.read_text())["cells"]
        for output in cell.get("outputs", [])
    ]


def scores_of(table: str) -> dict[str, float]:
    """The mAP of each run in the table of scores."""
    return {line.split()[0]: float(line.split()[1]) for line in table.splitlines()[1:]}
