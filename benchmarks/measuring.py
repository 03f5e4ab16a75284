"""Time and memory of a call in this process (memory: Linux only)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    cpu_s: float
    wall_s: float


def timed(work: Callable[[], T]) -> tuple[Cost, T]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return Cost(cpu_s=time.process_time() - cpu, wall_s=time.perf_counter() - wall), result


def forget_peak() -> None:
    """Reset the process's peak memory to what is resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"/proc/self/status has no {field}")
