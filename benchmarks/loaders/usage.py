"""What this process and all its children take of processor and memory."""

from pathlib import Path
from typing import Any


def cpu_of_tree() -> float:
    """CPU seconds of this process, its children, and those of theirs that have ended."""
    import psutil

    total = 0.0
    for process in tree():
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def memory_of_tree() -> dict[str, float]:
    """Proportional memory of this process and its children in MB: files in memory are told apart,
    which the system takes back when it needs to."""
    totals = {"Pss": 0, "Pss_File": 0}
    for process in tree():
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in lines[1:]:
            name, value = line.split()[:2]
            if name.rstrip(":") in totals:
                totals[name.rstrip(":")] += int(value)
    return {
        "private_mb": (totals["Pss"] - totals["Pss_File"]) * 1024 / 1e6,
        "files_mb": totals["Pss_File"] * 1024 / 1e6,
    }


def tree() -> list[Any]:
    import psutil

    process = psutil.Process()
    return [process, *process.children(recursive=True)]
