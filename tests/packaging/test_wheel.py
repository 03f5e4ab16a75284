"""The wheel, installed into an environment of its own and used from an empty folder."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import daam
from daam.commit import RECORD, source_commit

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command `daam`; the libraries are those of these tests."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin" / "daam"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The folder in which a test gives its commands."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def ran(program: Path, *arguments: str, folder: Path) -> str:
    """Run a command that must succeed; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_holds_every_file_of_the_two_packages(wheel: Path) -> None:
    found = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("daam-")}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in ("daam", "tune")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    if source_commit() is not None:
        wanted.add(RECORD.as_posix())
    assert found == wanted
    assert {Path(name).suffix for name in found} == {
        ".py",
        ".toml",
        ".css",
        ".html",
        ".json",
        ".typed",
    }


def test_the_command_tells_its_version_and_reads_its_presets(program: Path, empty: Path) -> None:
    assert ran(program, "--version", folder=empty) == f"daam {daam.__version__}\n"
    assert "learning_rate" in ran(program, "config", "--preset", "strong", folder=empty)
    assert list(empty.iterdir()) == []


def test_a_study_of_an_installed_wheel_names_its_commit(program: Path, empty: Path) -> None:
    commit = source_commit()
    if commit is None:
        pytest.skip("there is no commit to record: this is not a git checkout")
    python = program.with_name("python")
    code = "from tune.session import source_commit as commit; print(commit().as_json())"
    done = ran(python, "-c", code, folder=empty)
    assert json.loads(done) == json.loads(commit.as_json())


def test_bash_completes_commands_and_settings(program: Path, empty: Path) -> None:
    script = """
        source <(_DAAM_COMPLETE=source_bash daam)
        complete -p daam >&2
        for words in "daam ex" "daam train --pre" "daam export --format o"; do
            COMP_WORDS=($words) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$words
            COMP_POINT=${#words}
            _daam_completion daam
            echo "${COMPREPLY[@]}"
        done
    """
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=empty,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["export", "--preset", "onnx"], done.stderr


def test_a_run_is_trained_exported_and_used_to_embed_from_an_empty_folder(
    program: Path, empty: Path, tiny_root: Path, tiny_file: Path
) -> None:
    out = ran(program, "train", "--config", str(tiny_file), folder=empty)
    assert "daam evaluate --checkpoint" in out
    run = ("--checkpoint", "runs/plaza-campus")
    to = ("--format", "torch", "--to", "model.pt2", "--json")
    exported = json.loads(ran(program, "export", *run, *to, folder=empty))
    assert exported["contract"]["daam_version"] == daam.__version__
    assert exported["size_bytes"] == (empty / "model.pt2").stat().st_size
    images = str(tiny_root.parent / "raw" / "campus" / "query")
    to = ("--images", images, "--to", "found.parquet", "--json")
    embedded = json.loads(ran(program, "embed", *run, *to, folder=empty))
    assert (embedded["num_images"], embedded["unreadable"]) == (12, [])
    assert {entry.name for entry in empty.iterdir()} == {
        "runs",
        "model.pt2",
        "model.card.md",
        "found.parquet",
    }
