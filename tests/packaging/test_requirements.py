"""The lists of what daam needs agree with each other and with what it imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0]


def lines_of(file: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


TRACKERS = {"mlflow", "wandb", "trackio"}  # of other people's services: not in a checkout's lock


def test_requirements_txt_has_the_ranges_of_the_package_and_its_extras() -> None:
    optional = PROJECT["optional-dependencies"].items()
    extras = [item for name, items in optional if name not in TRACKERS for item in items]
    assert sorted(lines_of("requirements.txt")) == sorted([*PROJECT["dependencies"], *extras])


def test_exactly_what_is_imported_is_required() -> None:
    trees = [
        ast.parse(path.read_text())
        for top in ("daam", "tune")
        for path in (ROOT / top).rglob("*.py")
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    imported = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    providers = packages_distributions()
    needed = {providers[name][0].lower() for name in imported - {"daam", "tune"}}
    required = {name_of(item) for item in PROJECT["dependencies"]}
    of_extras = {"onnxruntime", "optuna-dashboard"}
    assert needed - {"botocore"} - of_extras == required  # botocore: part of boto3


def test_locks_pin_every_requirement_with_a_hash() -> None:
    for requirements, lock in (
        ("requirements.txt", "requirements.lock"),
        ("requirements-dev.txt", "requirements-dev.lock"),
        ("requirements-docs.txt", "requirements-docs.lock"),
        ("requirements-uv.txt", "requirements-uv.lock"),
    ):
        text = (ROOT / lock).read_text()
        pinned = re.findall(r"^([\w.-]+)==\S+[^\n]*\\\n    --hash=sha256:", text, re.M)
        assert len(pinned) == len(re.findall(r"^[\w.-]+==", text, re.M)), lock
        assert {name_of(line) for line in lines_of(requirements)} <= set(pinned), lock
