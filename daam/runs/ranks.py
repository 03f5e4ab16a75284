"""Processes of this machine that train as one: the ranks of a process group, without Ray.

They are kept from one run to the next: to start them costs more than many an epoch.
"""

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from daam.config.schema import RunConfig
from daam.dataset.cache.traffic import TRAFFIC
from daam.dataset.parallel import num_processors
from daam.errors import DaamError, TrainingError, WorkersError
from daam.runs.run_folder import read_reports
from daam.runs.worker import train_run
from daam.storage import Store
from daam.storage.scratch import scratch_folder

Work = Callable[[], Generator[dict[str, Any], None, None]]
"""Trains a run on every rank and yields each epoch's metrics; picklable."""

GOES_ON, ENDS, FAILS = "goes on", "ends", "fails"
PROGRAM = (
    "import sys; from multiprocessing.connection import Connection; line = Connection({line}); "
    "sys.path[:] = line.recv(); from daam.runs.ranks import main; main(line)"
)
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"

log = logging.getLogger(__name__)


class RankLostError(Exception):
    """A process of the group has ended by itself; the others were ended, too."""


class Ranks:
    """A group of processes, started when there is work and ended by `close` or with this process.

    Args:
        num_ranks: in the group.
        use_gpu: whether each gets one of the GPUs that this process sees.
        num_threads: that each computes with; default: what OMP_NUM_THREADS says, or as many as
            there are processors for each.
    """

    def __init__(self, num_ranks: int, *, use_gpu: bool, num_threads: int | None = None) -> None:
        self._num_ranks = num_ranks
        self._use_gpu = use_gpu
        self._num_threads = num_threads
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection[Any, Any]] = []
        self._resources = ExitStack()
        self._in_use = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def epochs(self, work: Work) -> Generator[dict[str, Any], None, None]:
        """Train on all ranks; yield the metrics of rank 0 after each epoch.

        No rank begins the next epoch before the consumer asks for it. If the generator is closed,
        the ranks stop there and stay for the next run.

        Raises:
            RankLostError: a process was killed.
            Exception: the work raised it on a rank.
        """
        with self._in_use:
            try:
                if not self._processes:
                    self._start()
                self._send(work)
                while (row := self._gathered()) is not None:
                    try:
                        yield row
                    except GeneratorExit:
                        self._stop()
                        return
                    self._send(GOES_ON)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        for connection in self._connections:
            connection.close()
        self._processes, self._connections = [], []
        self._resources.close()

    def _start(self) -> None:
        meeting = self._resources.enter_context(scratch_folder()) / "meeting"
        for rank in range(self._num_ranks):
            ours, theirs = Pipe()
            program = PROGRAM.format(line=theirs.fileno())
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", program, f"rank {rank} of {self._num_ranks}"],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=self._environment(rank),
                )
            self._processes.append(process)
            self._connections.append(ours)
        for rank, connection in enumerate(self._connections):
            connection.send(sys.path)
            connection.send((rank, self._num_ranks, meeting, "nccl" if self._use_gpu else "gloo"))

    def _environment(self, rank: int) -> dict[str, str]:
        share = max(1, num_processors() // self._num_ranks)
        found = {"OMP_NUM_THREADS": str(share)} | os.environ
        found |= {"GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
        if self._num_threads is not None:
            found["OMP_NUM_THREADS"] = str(self._num_threads)
        if self._use_gpu:
            found["CUDA_VISIBLE_DEVICES"] = visible_gpus()[rank]
        return found

    def _stop(self) -> None:
        """Have the ranks leave their work; where one is lost, the next run starts them anew."""
        try:
            self._send(ENDS)
            self._gathered()
        except RankLostError:
            self.close()

    def _send(self, message: Any) -> None:
        for rank, connection in enumerate(self._connections):
            try:
                connection.send(message)
            except OSError:
                raise self._lost(rank) from None

    def _gathered(self) -> dict[str, Any] | None:
        """Wait for all ranks; return the metrics of rank 0, or None if the work is over."""
        found: dict[str, Any] | None = None
        missing: dict[Any, int] = {line: rank for rank, line in enumerate(self._connections)}
        while missing:
            for line in wait(list(missing)):
                rank = missing.pop(line)
                try:
                    kind, content, traffic = self._connections[rank].recv()
                except (EOFError, OSError):
                    raise self._lost(rank) from None
                if kind == FAILS:
                    raise content
                for name, amount in traffic.items():
                    setattr(TRAFFIC, name, getattr(TRAFFIC, name) + amount)
                if kind == GOES_ON and rank == 0:
                    found = content
        return found

    def _lost(self, rank: int) -> RankLostError:
        code = self._processes[rank].wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return RankLostError(f"worker {rank + 1} of {self._num_ranks} {how}")


def train_in_processes(
    folder: Store, config: RunConfig, *, stages: Store | None = None
) -> Generator[dict[str, Any], None, None]:
    """Train a run in processes of this machine; yield each epoch's metrics once.

    A process that dies takes its group with it; the group starts again, from the run's last
    checkpoint, up to `compute.max_failures` times.

    Raises:
        WorkersError: processes died more often.
        TrainingError: the machine is too small.
        DaamError: a rank raised it.
    """
    num_ranks, use_gpu = config.compute.num_workers, uses_gpu(config)
    kind, have = ("GPU", len(visible_gpus())) if use_gpu else ("CPU", num_processors())
    if have < num_ranks:
        raise TrainingError(
            f"{num_ranks} workers need {num_ranks} {kind}s and this machine has {have}; use fewer "
            "workers, or a cluster (--address)"
        )
    done, restarts = len(read_reports(folder)), 0
    work = partial(train_run, folder, config, stages=stages)
    with Ranks(num_ranks, use_gpu=use_gpu) as ranks:
        while True:
            try:
                for row in ranks.epochs(work):
                    if row["epoch"] > done:
                        done = row["epoch"]
                        yield row
                return
            except RankLostError as error:
                restarts += 1
                if restarts > config.compute.max_failures:
                    raise WorkersError(
                        f"{error}, and the run has been restarted {restarts - 1} times; fix the "
                        "cause (too little memory?) and resume from the last checkpoint: daam "
                        f"train --resume {shlex.quote(folder.uri)}"
                    ) from error
                log.warning(
                    "%s: restart %d of %d, from the last checkpoint",
                    error,
                    restarts,
                    config.compute.max_failures,
                )


def uses_gpu(config: RunConfig) -> bool:
    """Whether each rank of a run on this machine gets a GPU."""
    if config.compute.device == "auto":
        return bool(visible_gpus())
    return config.compute.device == "cuda"


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    import torch  # only the ranks need it otherwise

    return [str(number) for number in range(torch.cuda.device_count())]


# --- in the processes of the ranks ---------------------------------------------------------------


def main(connection: "Connection[Any, Any]") -> None:
    """Be a rank until the process that started this one closes the connection or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for that process
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    rank, num_ranks, meeting, backend = connection.recv()
    if rank > 0:
        logging.disable(logging.WARNING)  # all ranks say the same
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    from torch import distributed

    # They meet in a file: a store of PyTorch's would listen on all addresses of the machine.
    distributed.init_process_group(
        backend, init_method=f"file://{meeting}", rank=rank, world_size=num_ranks
    )
    work = connection.recv()
    while True:
        work = asked(connection, run_work(work, connection))


def end_with(process: int) -> None:
    """End this process when the one that started it has ended."""
    while os.getppid() == process:
        time.sleep(1)
    os._exit(1)


def run_work(work: Work, connection: "Connection[Any, Any]") -> tuple[str, Any, dict[str, int]]:
    """Train a run, report each epoch, stop after it if that is the answer; return how it ended."""
    counted = asdict(TRAFFIC)

    def traffic() -> dict[str, int]:
        nonlocal counted
        before, counted = counted, asdict(TRAFFIC)
        return {name: counted[name] - before[name] for name in counted}

    try:
        with closing(work()) as epochs:
            for row in epochs:
                if asked(connection, (GOES_ON, row, traffic())) == ENDS:
                    break
    except Exception as error:
        if not isinstance(error, DaamError):
            error.add_note(traceback.format_exc())
        return FAILS, error, {}
    return ENDS, None, traffic()


def asked(connection: "Connection[Any, Any]", message: tuple[str, Any, dict[str, int]]) -> Any:
    """Send a message and return the answer."""
    try:
        connection.send(message)
        return connection.recv()
    except (EOFError, OSError):
        os._exit(0)  # the group has ended; gloo's threads may abort where a process tears down
