"""The commands of the pages run as they stand, in the order in which a reader meets them.

Domains are tiny, and whatever is trained gets a tiny network and budget on top of its settings.
What starts Ray or needs other machines (`tune`, `--workers`) is run by tests/end_to_end; here only
test_pages.py looks at it.
"""

import csv
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import launch
from daam.storage.local_s3 import LocalS3
from tests.support.pages import ROOT, Block, blocks, commands
from tests.support.tiny_domains import TINY_RUN, write_market

STORY = ("README.md", "import.md", "train.md", "evaluate.md", "export.md")
RUN_ELSEWHERE = ("tune", "--workers")
SMALL_RENDERING = ("--train-identities", "12", "--test-identities", "4", "--cameras", "2")

pytestmark = pytest.mark.slow


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the data and the bucket that the pages name."""
    monkeypatch.chdir(tmp_path)
    # Five cameras make enough pairs for the false-match rate that a page asks for.
    write_market(Path("Market-1501-v15.09.15"), name="market")
    write_market(Path("my-cameras"), name="mine", num_cameras=5)
    write_market(Path("MSMT17_V1"), name="msmt")
    write_index(Path("my-cameras"))
    for image in list(Path("MSMT17_V1").glob("*/*.jpg")):
        identity, camera, number, _ = image.stem.split("_")
        image.rename(image.with_name(f"{identity}_{camera[:2]}_{number[-4:]}.jpg"))
    shutil.copytree("my-cameras/query", "new-images")
    shutil.copytree("my-cameras/query", "cameras/today")
    shutil.copytree("my-cameras/query", "s3/bucket/crops")
    with LocalS3(Path("s3"), access_key="testaccess", secret_key="testsecret") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield tmp_path


def write_index(root: Path) -> None:
    """Write the table of the layout `csv` for images in Market-1501's folders."""
    splits = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
    with (root / "index.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "identity", "camera", "split"))
        for image in sorted(root.glob("*/*.jpg")):
            identity, camera = re.findall(r"(\d+)_c(\d)", image.name)[0]
            folder = image.parent.name
            writer.writerow((f"{folder}/{image.name}", identity, camera, splits[folder]))


def test_the_readme_and_the_guides_run_as_they_stand(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [ROOT / name if name == "README.md" else ROOT / "docs/guides" / name for name in STORY]
    ran: list[list[str]] = []
    for arguments in shell_commands([block for page in pages for block in blocks(page)]):
        if arguments not in ran and not any(word in arguments for word in RUN_ELSEWHERE):
            run(arguments, monkeypatch=monkeypatch, capsys=capsys)
            ran.append(arguments)
    assert len(ran) > 15
    assert {"embedder.onnx", "embedder.pt2", "embeddings.parquet"} <= {
        path.name for path in work.iterdir()
    }


def test_the_quickstart_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = blocks(ROOT / "docs" / "quickstart.md")
    for block in shown:
        if block.title:
            Path(block.title).write_text(block.text)
    for arguments in shell_commands(shown):
        run(arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert Path("embeddings.parquet").exists()


def shell_commands(shown: list[Block]) -> Iterator[list[str]]:
    """Yield the commands of the blocks of shell commands, sh; those beside output are not run."""
    for block in shown:
        if block.language == "sh":
            yield from commands(block.text)


def run(
    arguments: list[str], *, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a command, made small, which must succeed."""
    extra: list[str] = []
    if arguments[:2] == ["data", "render"]:
        extra = [*SMALL_RENDERING]
    if arguments[0] == "train" and "--resume" not in arguments:
        settings = flattened(tomllib.loads(TINY_RUN))
        extra = [word for path, value in settings for word in ("--set", f"{path}={value}")]
    monkeypatch.setattr(sys, "argv", ["daam", *arguments, *extra])
    try:
        code = launch.main()
    except SystemExit as error:
        code = error.code
    assert code == 0, f"daam {' '.join(arguments)}: {capsys.readouterr().err}"


def flattened(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of nested tables by their dotted paths."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
