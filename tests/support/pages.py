"""The pages of the documentation, and what stands in them: links, code blocks, commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {ROOT / "docs" / "reference" / f"{name}.md" for name in ("settings", "commands", "api")}
PAGES = sorted(
    {
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
        ROOT / "cluster" / "README.md",
    }
    - GENERATED
)
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = ("daam ", "python launch.py ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = FENCE.findall(page.read_text())
    return [Block(language=language, title=title, text=text) for language, title, text in found]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every daam command in a block."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.strip().removeprefix("$ ")
        for program in PROGRAMS:
            if words.startswith(program) and "..." not in words:
                yield shlex.split(words.removeprefix(program), comments=True)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", each).strip()) for each in plain}
