"""Files that only other programs read: they parse, and what they name exists."""

import re
from pathlib import Path

import pytest
import yaml

import daam

ROOT = Path(__file__).parents[2]


def test_the_citation_is_of_this_version_and_keeps_the_paper_apart() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == daam.__version__
    assert (
        f"## [{daam.__version__}] - {citation['date-released']}"
        in (ROOT / "CHANGELOG.md").read_text()
    )
    (paper,) = citation["references"]
    assert paper["identifiers"] == [{"type": "other", "value": "arXiv:1905.10529v1"}]
    assert not {author.get("family-names") for author in citation["authors"]} & {
        author["family-names"] for author in paper["authors"]
    }


def test_continuous_integration_runs_what_there_is_with_pinned_actions() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in steps if "uses" in step)
    scripts = " ".join(step["run"] for step in steps if "run" in step)
    assert (ROOT / ".ci/run").exists()
    assert ".ci/run" in scripts
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"make (\w+)", scripts)) <= set(targets)
    assert jobs["test"]["strategy"]["matrix"]["python"] == re.findall(
        r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text()
    )


def test_hooks_before_a_commit_use_the_tools_of_the_locks() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"].split()[0] for repo in config["repos"] for hook in repo["hooks"]]
    checks = (ROOT / "Makefile").read_text()
    assert {Path(entry).name for entry in entries} == {"ruff", "lint-imports", "pyright"}
    for entry in entries:
        assert entry.replace(".venv/bin", "$(BIN)") in checks


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_are_named_exist(page: str) -> None:
    words = re.findall(r"`((?:daam|tests|docs|benchmarks)/[\w/.-]+)`", (ROOT / page).read_text())
    assert all((ROOT / path).exists() for path in words), words
