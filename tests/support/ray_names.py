"""What Ray shows of a command while it runs: titles of processes, and its state API."""

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from tests.support.commands import Command, processes_of

KINDS = ("actors", "placement_groups", "jobs", "tasks")


@dataclass(slots=True)
class Shown:
    """What was seen.

    Attributes:
        titles: of each process, the titles it had one after another.
        state: by kind and id, the newest answer of the state API.
    """

    titles: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    state: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))

    def values(self, kind: str, key: str) -> set[str]:
        """What entries of a kind had under a key."""
        return {str(entry.get(key)) for entry in self.state[kind].values()}


@contextmanager
def looking_at(command: Command) -> Iterator[Shown]:
    """Look at a command within the block: at its processes all the time, at Ray every second."""
    shown, over = Shown(), threading.Event()

    def look() -> None:
        next_at = 0.0
        while not over.wait(0.02):
            for pid in processes_of(command.process.pid, title="ray::"):
                title = _title(pid)
                if title and [title] != shown.titles[pid][-1:]:
                    shown.titles[pid].append(title)
            if time.monotonic() > next_at:
                next_at = time.monotonic() + 1
                _ask(command, shown)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield shown
    finally:
        over.set()
        thread.join()


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _ask(command: Command, shown: Shown) -> None:
    address = re.search(r"Ray dashboard: (http://\S+)", command.out)
    if address is None:
        return
    token = (Path.home() / ".ray" / "auth_token").read_text().strip()
    for kind in KINDS:
        try:
            answer = urllib3.request(
                "GET",
                f"{address[1]}/api/v0/{kind}?detail=true",  # what ray.util.state asks
                headers={"Authorization": f"Bearer {token}"},
                retries=False,
                timeout=5,
            )
            entries = json.loads(answer.data)["data"]["result"]["result"]
        except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError):
            return  # it begins or ends
        for entry in entries:
            ids = (f"{kind.removesuffix('s')}_id", "job_id")
            shown.state[kind][next(entry[name] for name in ids if entry.get(name))] = entry
