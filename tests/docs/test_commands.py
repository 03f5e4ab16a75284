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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import launch
from daam.storage.local_s3 import LocalS3
from daam.synthetic import write_crops
from tests.support.pages import ROOT, Block, blocks, commands
from tests.support.tiny_domains import TINY_RUN, write_market

GUIDES = ("import", "train", "evaluate", "search", "export")
STORY = ("README.md", *(f"docs/guides/{name}.md" for name in GUIDES))
RUN_ELSEWHERE = ("tune", "--workers")
SMALL_RENDERING = ("--train-identities", "12", "--test-identities", "4", "--cameras", "2")

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A working directory with the data and the bucket that the pages name."""

    folder: Path
    environment: Mapping[str, str]
    ran: list[list[str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """The folder in which the README's and the guides' commands run."""
    folder = tmp_path_factory.mktemp("work")
    # Five cameras make enough pairs for the false-match rate that a page asks for.
    write_market(folder / "Market-1501-v15.09.15", name="market")
    write_market(folder / "my-cameras", name="mine", num_cameras=5)
    write_market(folder / "MSMT17_V1", name="msmt")
    write_index(folder / "my-cameras")
    for image in list((folder / "MSMT17_V1").glob("*/*.jpg")):
        identity, camera, number, _ = image.stem.split("_")
        image.rename(image.with_name(f"{identity}_{camera[:2]}_{number[-4:]}.jpg"))
    write_crops(folder / "Market-1501-v15.09.15", to=folder / "my-crops")
    shutil.copy(next((folder / "my-crops").iterdir()), folder / "photo.jpg")
    for images in ("new-images", "cameras/today", "s3/bucket/crops"):
        shutil.copytree(folder / "my-cameras/query", folder / images)
    with LocalS3(folder / "s3", access_key="testaccess", secret_key="testsecret") as server:
        yield Work(folder=folder, environment=server.environment)


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


@pytest.mark.parametrize("page", STORY)
def test_the_commands_of_a_page_run_after_those_of_the_pages_before(
    page: str, work: Work, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_up_to(page, work, monkeypatch=monkeypatch, capsys=capsys)
    assert len(work.ran) > 3


def test_the_python_of_the_readme_runs(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work.folder)
    (block,) = (each for each in blocks(ROOT / "README.md") if each.language == "python")
    small = block.text.replace("daam.load_config({", "daam.load_config(dict(TINY) | {")
    found: dict[str, Any] = {"TINY": flattened(tomllib.loads(TINY_RUN))}
    exec(small, found)  # noqa: S102  (our own documentation)
    assert found["similarity"].shape == (30, 30)
    assert (work.folder / "mine.onnx").exists()


def test_a_domain_can_be_read_without_daam_as_shown(
    work: Work, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_up_to("docs/guides/import.md", work, monkeypatch=monkeypatch, capsys=capsys)
    page = ROOT / "docs" / "reference" / "format.md"
    first = next(block for block in blocks(page) if block.language == "python")
    capsys.readouterr()
    exec(first.text, {})  # noqa: S102  (our own documentation)
    assert "image: binary not null" in capsys.readouterr().out


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


def test_the_way_from_crops_to_a_search_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = blocks(ROOT / "docs" / "adapt-your-cameras.md")
    for block in shown:
        if block.title:
            Path(block.title).write_text(block.text)
    for arguments in shell_commands(shown):
        for word in arguments:
            if word.startswith("crops/") and not Path(word).exists():  # fewer people, other names
                shutil.copy(next(Path("crops").iterdir()), word)
        run(arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert Path("found/matches.html").exists()


def run_up_to(
    last: str, work: Work, *, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the commands of the README and the guides up to a page, but for those that ran before."""
    monkeypatch.chdir(work.folder)
    for name, value in work.environment.items():
        monkeypatch.setenv(name, value)
    for name in STORY[: STORY.index(last) + 1]:
        for arguments in shell_commands(blocks(ROOT / name)):
            if arguments not in work.ran and not set(RUN_ELSEWHERE) & set(arguments):
                run(arguments, monkeypatch=monkeypatch, capsys=capsys)
                work.ran.append(arguments)


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
