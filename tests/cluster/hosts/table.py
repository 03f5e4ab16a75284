"""The table of faults, as docs/cluster-lab.md shows it."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.support.commands import ROOT

FILE = "CLUSTER_LAB_TABLE"
PAGE = """# Faults on a cluster

`make cluster-lab` brings up a head and {num_workers} workers on one machine, each with a network, a
disk and processes of its own, lets the faults of this table happen to a study and to a run of two
workers, and compares all their numbers, epoch by epoch and to the last digit, with those of the
same commands on one machine to which nothing happens. The seconds are from the submission of the
job to the end of the work.

Last run: commit `{commit}`, {date}, {num_cpus} CPUs.

{table}
"""


@dataclass(slots=True, kw_only=True)
class Table:
    """Which faults left the numbers as they are, and how long that took."""

    rows: Sequence[str]
    columns: Sequence[str]
    cells: dict[tuple[str, str], str] = field(default_factory=dict)

    @contextmanager
    def cell(self, row: str, column: str) -> Iterator[None]:
        """Fill a cell: the seconds that the block takes, or that it failed."""
        begin = time.monotonic()
        self.cells[row, column] = "**differs or fails**"
        yield
        self.cells[row, column] = f"same, {time.monotonic() - begin:.0f} s"

    def as_markdown(self) -> str:
        """The cells that were filled, in the order of rows and columns."""
        lines = [["fault", *self.columns], ["---"] * (1 + len(self.columns))]
        lines += [
            [row, *(self.cells.get((row, column), "not run") for column in self.columns)]
            for row in self.rows
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def write(self) -> None:
        """Write the page, if the variable says where to."""
        if FILE not in os.environ:
            return
        commit = ("git", "describe", "--always", "--dirty", "--abbrev=10")
        page = PAGE.format(
            num_workers=2,
            commit=subprocess.check_output(commit, cwd=ROOT, text=True).strip(),
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            num_cpus=os.cpu_count(),
            table=self.as_markdown(),
        )
        Path(os.environ[FILE]).write_text(page)
