"""What `daam data ...` prints about a domain."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from daam.commands.terminal.screen import console, print_line
from daam.dataset.format.manifest import DomainManifest, ShardEntry
from daam.dataset.maintenance.describe import SplitDescription, describe_domain
from daam.domains import Split
from daam.errors import ConfigError
from daam.storage import Store

FILES_NAMED = 3


@dataclass(slots=True)
class SentFiles:
    """Counts the files sent to a store and those already there; may be used by several threads."""

    num_sent: int = 0
    num_there: int = 0
    size_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def add(self, entry: ShardEntry, sent: bool) -> None:  # noqa: FBT001  (called by position)
        """Count a file."""
        with self._lock:
            if sent:
                self.num_sent += 1
                self.size_bytes += entry.size_bytes
            else:
                self.num_there += 1

    def summary(self, to: str) -> str:
        """Return one line for the user."""
        there = f", {self.num_there} were there already" if self.num_there else ""
        files = "1 file" if self.num_sent == 1 else f"{self.num_sent} files"
        return f"sent {files} ({self.size_bytes / 1e6:.1f} MB) to {to}{there}"


def print_description(
    store: Store, manifest: DomainManifest, *, at: str, to: Path | None = None
) -> dict[Split, SplitDescription]:
    """Print a table of a domain's splits, and draw their distributions into a file.

    Returns:
        What was printed, by split.
    """
    splits = describe_domain(store, manifest)
    if to is not None:
        # matplotlib takes a second to import.
        from daam.plots.domain_histograms import draw_description

        draw_description(splits, manifest=manifest, to=to)
    title = f"{manifest.domain} in {at}"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("split", no_wrap=True)
    counts = ["images", "identities", "cameras", "tracks", "distractors", "junk"]
    if all(content.num_tracks is None for content in splits.values()):
        counts.remove("tracks")
    for header in (*counts, "MB"):
        table.add_column(header, justify="right")
    for split, content in splits.items():
        found = [getattr(content, f"num_{name}") for name in counts]
        table.add_row(
            str(split),
            *("unknown" if count is None else f"{count:,}" for count in found),
            f"{content.size_bytes / 1e6:,.1f}",
        )
    console.print(table)
    if manifest.settings.reencoded is not None:
        height, width = manifest.settings.reencoded
        print_line(f"stored at {height}x{width} (height x width), re-encoded")
    if to is not None:
        print_line(f"{to}")
    return splits


def counts_of(splits: Mapping[Split, SplitDescription]) -> dict[str, dict[str, int | None]]:
    """Return the numbers of the printed table, for JSON; None is what a split does not know."""
    return {
        str(split): {
            "num_images": content.num_images,
            "num_identities": content.num_identities,
            "num_cameras": content.num_cameras,
            "num_tracks": content.num_tracks,
            "num_distractors": content.num_distractors,
            "num_junk": content.num_junk,
            "size_bytes": content.size_bytes,
        }
        for split, content in splits.items()
    }


def named(keys: Sequence[str]) -> str:
    """Name the first few of many files."""
    return ", ".join(keys[:FILES_NAMED]) + (", …" if len(keys) > FILES_NAMED else "")


def megabytes(manifest: DomainManifest) -> str:
    """Return the size of a domain."""
    return f"{sum(entry.size_bytes for entry in manifest.files) / 1e6:.1f} MB"


def size_of(text: str) -> tuple[int, int]:
    """Parse height and width from `256x128`.

    Raises:
        ConfigError: it is not of that form.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ConfigError(f"size {text!r} is not HEIGHTxWIDTH in pixels, for example 256x128")
    return int(match[1]), int(match[2])
