"""A run on Ray workers, seen from outside: who can reach it, and what Ctrl-C does to it."""

import os
import re
import signal
from pathlib import Path

import pytest

from daam.runs.run_folder import read_reports
from daam.storage import open_store
from tests.support.commands import processes_of, started

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

LISTENING = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_a_run_listens_on_loopback_alone_and_ctrl_c_says_how_to_go_on(
    tiny_file: Path, tmp_path: Path
) -> None:
    arguments = ("train", "--transfer", "plaza->campus", "--workers", "2", "--config")
    many = ("--set", "optimiser.num_epochs=500", "--storage", str(tmp_path / "runs"))
    folder = str(tmp_path / "runs" / "plaza-campus")
    with started(*arguments, str(tiny_file), *many, scratch=tmp_path) as command:
        command.until(lambda: read_reports(open_store(folder)))
        workers = set(processes_of(command.process.pid, title="ray::RayTrainWorker"))
        others = set(processes_of(command.process.pid)) - workers
        assert len(workers) == 2
        addresses = listening_addresses(others)
        assert addresses  # Ray's own processes do listen
        assert addresses <= LOOPBACK
        # Rank 0 has PyTorch's rendezvous store, which takes no address to listen at.
        assert listening_addresses(workers) <= LOOPBACK | {"0" * 32}
        os.kill(command.process.pid, signal.SIGINT)
        finished = command.finished(within_s=120)
    assert finished.code == 130
    assert finished.err.strip().splitlines()[-1] == (
        f"daam: the run was stopped; resume with: python launch.py train --resume {folder}"
    )
    assert "Traceback" not in finished.err


def listening_addresses(processes: set[int]) -> set[str]:
    """The addresses, in hexadecimal as Linux has them, at which any of the processes listens."""
    inodes = set()
    for process in processes:
        try:
            links = [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:  # it has ended meanwhile
            continue
        inodes |= {found[1] for link in links if (found := re.match(r"socket:\[(\d+)\]", link))}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENING and row[9] in inodes}
