"""cluster/slurm.sh on one and two nodes, with Slurm's commands played by scripts on this machine.

`srun` starts its tasks, `scancel` ends them, and `squeue` and `scontrol` answer for the job;
node.sh and daam write down how they were called.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from daam.commands.terminal.stopping import PATIENCE_S

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"
STAND_INS = {
    "bin/srun": """
        for argument; do
            case $argument in
                --ntasks=*) tasks=${argument#*=} ;;
                --*) ;;
                *) break ;;
            esac
            shift
        done
        for _ in $(seq "$tasks"); do
            SLURM_CPUS_ON_NODE=3 "$@" &
            echo $! >>"$RECORD/tasks"
        done
        wait
    """,
    "bin/scancel": 'xargs kill -TERM <"$RECORD/tasks" 2>"$RECORD/gone"',
    "bin/squeue": 'cat "$RECORD/state"',
    "bin/scontrol": 'echo "$*" >>"$RECORD/scontrol"',
    "daam/cluster/node.sh": """
        echo "$* port=$DAAM_PORT head=${RAY_HEAD_IP:-}" >>"$RECORD/node"
        case $1 in
            head)
                until [ -e "$RECORD/head_code" ]; do sleep .05; done
                stat -c %a "$RAY_AUTH_TOKEN_PATH" "$DAAM_HOME" >"$RECORD/modes"
                mkdir -p "$RAY_TMPDIR/ray"
                echo "10.0.0.1:$DAAM_PORT" >"$RAY_TMPDIR/ray/ray_current_cluster"
                exit "$(cat "$RECORD/head_code")"
                ;;
            worker) touch "$RECORD/joined" ;;
        esac
    """,
    "daam/cluster/environment.sh": 'cd "$DAAM_HOME"',
    "bin/daam": """
        trap 'exit 143' TERM
        echo "$* in $PWD" >"$RECORD/daam"
        until [ -e "$RECORD/daam_code" ]; do sleep .05; done
        exit "$(cat "$RECORD/daam_code")"
    """,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that runs, and the folder where its stand-ins write."""

    process: subprocess.Popen[bytes]
    record: Path
    scratch: Path
    home: Path

    def lines(self, name: str) -> list[str]:
        path = self.record / name
        return path.read_text().splitlines() if path.exists() else []

    def until(self, name: str) -> None:
        deadline = time.monotonic() + 30
        while not (self.record / name).exists():
            assert self.process.poll() is None, (self.record / "output").read_text()
            assert time.monotonic() < deadline, f"no {name}"
            time.sleep(0.05)

    def end(self, code: int) -> int:
        (self.record / "daam_code").write_text(str(code))
        return self.process.wait(30)


Start = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def run(*arguments: str, head_code: int | None = 0, **variables: str) -> Job:
        job_id = str(10**8 + os.getpid())
        record = tmp_path / "record"
        record.mkdir()
        for name, text in STAND_INS.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/usr/bin/env bash\n{text}\n")
            path.chmod(0o755)
        (record / "state").write_text("RUNNING\n")
        if head_code is not None:
            (record / "head_code").write_text(str(head_code))
        environment = {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "RECORD": str(record),
            "SLURM_JOB_ID": job_id,
            "SLURM_NNODES": "1",
            "SLURM_CPUS_ON_NODE": "3",
            "SLURMD_NODENAME": "n0",
            "SLURM_SUBMIT_DIR": str(tmp_path),
        }
        with (record / "output").open("w") as output:
            process = subprocess.Popen(
                ["bash", str(SCRIPT), *arguments],
                env=environment | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        scratch = Path("/tmp") / f"daam-job-{job_id}"  # noqa: S108  (where the script puts it)
        return Job(process=process, record=record, scratch=scratch, home=tmp_path)

    return run


def leftovers(job: Job) -> list[Path]:
    tokens = list((job.home / "daam").glob("token-*"))
    return tokens + [job.scratch] * job.scratch.exists()


@pytest.mark.parametrize("nodes", [1, 3])
def test_daam_runs_on_all_nodes_and_leaves_nothing(start: Start, nodes: int) -> None:
    job = start("tune", "--name", "a study", SLURM_NNODES=str(nodes))
    job.until("daam")
    if nodes > 1:
        job.until("joined")
    assert job.end(0) == 0

    (command,) = job.lines("daam")
    (port,) = re.findall(r"--address=10\.0\.0\.1:(\d+)", command)
    assert command == f"tune --name a study --address=10.0.0.1:{port} in {job.home}"
    calls = job.lines("node")
    heads = [call for call in calls if call.startswith("head ")]
    workers = [call for call in calls if call.startswith("worker ")]
    stops = [call for call in calls if call.startswith("stop ")]
    assert (len(heads), len(workers), len(stops)) == (1, nodes - 1, nodes)
    assert all("--num-cpus=3 " in call and f"port={port}" in call for call in heads + workers)
    assert all(call.endswith("head=10.0.0.1") for call in workers)
    assert job.lines("modes") == ["600", "700"]
    assert job.lines("scontrol") == []
    assert leftovers(job) == []


def test_a_signal_stops_daam_and_queues_the_job_again(start: Start) -> None:
    job = start("tune", "--name", "study")
    job.until("daam")
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(30) == 143
    assert job.lines("scontrol") == [f"requeue {job.scratch.name.removeprefix('daam-job-')}"]
    assert leftovers(job) == []


def test_a_signal_while_ray_starts_queues_the_job_again(start: Start) -> None:
    job = start("tune", "--name", "study", head_code=None)
    job.until("node")
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(30) == 143
    assert len(job.lines("scontrol")) == 1
    assert job.lines("daam") == []
    assert leftovers(job) == []


def test_a_cancelled_job_is_not_queued_again(start: Start) -> None:
    job = start("tune", "--name", "study")
    job.until("daam")
    (job.record / "state").write_text("COMPLETING\n")
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(30) == 143
    assert job.lines("scontrol") == []


def test_a_job_that_was_queued_again_resumes(start: Start) -> None:
    job = start("tune", "--name", "study", SLURM_RESTART_COUNT="1")
    job.until("daam")
    assert job.end(0) == 0
    assert "--name study --or-resume --address=" in job.lines("daam")[0]


def test_a_command_that_fails_ends_the_job_with_its_code(start: Start) -> None:
    job = start("tune", "--preset", "nonsense")
    job.until("daam")
    assert job.end(2) == 2
    assert job.lines("scontrol") == []
    assert leftovers(job) == []


def test_without_a_head_nothing_is_run(start: Start) -> None:
    job = start("tune", head_code=1)
    assert job.process.wait(30) == 1
    assert job.lines("daam") == []
    assert leftovers(job) == []


def test_ports_of_jobs_that_run_together_are_apart(start: Start) -> None:
    (formula,) = re.findall(r"DAAM_PORT=\$\(\((.*)\)\)", SCRIPT.read_text())
    firsts = [eval(formula.replace("SLURM_JOB_ID", str(number))) for number in range(1200)]  # noqa: S307
    assert min(b - a for a, b in zip(sorted(firsts), sorted(firsts)[1:], strict=False)) >= 9
    assert max(firsts) + 9 < 32768  # where Linux takes ports for outgoing connections from


def test_the_job_asks_slurm_for_what_it_relies_on() -> None:
    options: dict[str, str] = {}
    for line in SCRIPT.read_text().splitlines():
        if line.startswith("#SBATCH --"):
            name, _, value = line.removeprefix("#SBATCH --").partition("=")
            options[name] = value
    assert options["ntasks-per-node"] == "1"
    assert "requeue" in options
    before_s = int(options["signal"].removeprefix("B:TERM@"))
    assert before_s > 2 * (PATIENCE_S + 30)  # for daam to end, then Ray on each node


def test_rays_sockets_fit_below_the_folder_of_a_job() -> None:
    session = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    assert len(f"/tmp/daam-job-{10**10}/{session}") <= 107  # noqa: S108
