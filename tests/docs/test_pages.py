"""The pages hold what is true: links lead somewhere, and what they name exists."""

import importlib
import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from daam.commands.app import app
from daam.config.reference import settings_reference
from docs.generate import commands_page, settings_page
from tests.support.pages import GENERATED, PAGES, ROOT, anchors, blocks, commands, prose
from tune.settings import StudySettings

SECTIONS = "data|model|loss|teacher|optimiser|evaluation|compute|study"
SETTINGS = [
    setting.path
    for setting in (*settings_reference(), *settings_reference(StudySettings, prefix="study."))
]
MAX_WIDTH = 120

HISTORY = {ROOT / "CHANGELOG.md"}  # names what was, too


def pages_but(*left_out: Path) -> pytest.MarkDecorator:
    """Run a test on every page but these."""
    pages = [page for page in PAGES if page not in left_out]
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


every_page = pages_but()


@every_page
def test_links_lead_to_a_file_and_a_heading_in_it(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target in GENERATED:
            continue
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_lines_are_short(page: Path) -> None:
    for line in prose(page).splitlines():
        if not line.startswith(("|", "    ", "[")):
            assert len(line) <= MAX_WIDTH, line


@pages_but(*HISTORY)
def test_files_modules_and_settings_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(
        r"\b((?:tests|benchmarks|cluster|tune/spaces)/[\w/.-]+\.(?!md)\w+)", text
    ):
        assert (ROOT / path).exists(), path
    for words in re.findall(r"`([^`\n]+)`", prose(page)):
        if re.fullmatch(r"daam(\.[a-z_]+)+(?<!\.py)", words):
            parent, _, name = words.rpartition(".")
            found = hasattr(importlib.import_module(parent), name)
            assert found or importlib.util.find_spec(words), words
        elif re.fullmatch(rf"({SECTIONS})(\.[a-z_]+)+(?<!\.json|\.toml)", words):
            assert any(path == words or path.startswith(f"{words}.") for path in SETTINGS), words


@every_page
def test_commands_have_the_options_that_are_shown(page: Path) -> None:
    for block in blocks(page):
        for arguments in commands(block.text):
            command: Any = typer.main.get_command(app)
            while hasattr(command, "commands"):
                name, *arguments = arguments
                command = command.commands[name]
            command.make_context(command.name, arguments)


@every_page
def test_toml_can_be_read(page: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            tomllib.loads(block.text)


def test_the_generated_pages_have_every_setting_and_every_command() -> None:
    settings = settings_page()
    for path in SETTINGS:
        assert f"| `{path}` |" in settings
    found = commands_page()
    for command in ("tune", "train", "evaluate", "export", "embed", "data import", "data clean"):
        assert f"\n## daam {command}\n" in found
