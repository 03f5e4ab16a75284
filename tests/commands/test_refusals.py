"""What is wrong with a command is said before torch and Ray are imported, and nothing is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from daam.commands.app import main
try:
    code = main()
except SystemExit as error:
    code = error.code
print("imported:", *({"torch", "ray"} & sys.modules.keys()))
sys.exit(code)
"""
STUDY = """
[study]
name = "small"
[search]
"optimiser.learning_rate" = { low = 1e-4, high = 1e-2 }
"""


def ran(command: list[str], *, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train"], "name the domains to train on: --transfer 'SOURCE->TARGET'"),
        (["train", "--transfer", "plaza"], "'plaza' is not of the form source->target"),
        (["train", "--transfer", "a->b", "--set", "loss.tripet=1"], "did you mean loss.triplet?"),
        (
            ["train", "--transfer", "market->msmt"],
            "has no domain market, msmt, only none; import it",
        ),
        (["train", "--resume", "runs/a", "--name", "b"], "give it alone"),
        (["compare", "runs/a"], "name at least two runs"),
        (["tune", "--config", "study.toml"], "the study names no transfer"),
        (["tune", "--set", "study.holdout=plaza->campus"], "share the domain campus"),
    ],
)
def test_a_refusal_is_quick_and_leaves_nothing(
    command: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    done = ran(command, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == "imported:\n"
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["config"]])
def test_help_imports_neither_torch_nor_ray(command: list[str], tmp_path: Path) -> None:
    done = ran(command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported:\n")
