"""How long runs and studies take to start, and what a network between two workers costs.

    python benchmarks/cluster.py start                # this machine
    python benchmarks/cluster.py network              # hosts in namespaces: root, iproute2, sshd

`start` gives the commands anew in each round, with one worker and with two, and watches the folder
they write: seconds from the command to the first epoch, from the last epoch of a trial to the first
of the next in its place, and from the search to the first contender. Epochs are short, so nearly
all of it is the start. Idle is the share of the slots' time, from the second trial of the search to
its end, in which no epoch was trained.

`network` trains a ResNet-50 on two workers: on one host, and on two hosts whose links carry so many
bits per second. The batch is the same, so each step's gradients are: 94 MB. Each round trains on
all links in turn.

Both print Markdown tables of medians over the rounds.
"""

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.runs.run_folder import read_reports
from daam.storage import open_store
from tests.cluster.hosts.cluster import DOMAINS, STORE, Cluster
from tests.cluster.hosts.lab import Lab
from tests.support.commands import started
from tests.support.tiny_domains import TINY_RUN, add_domain

POLL_S = 0.05
TRANSFER = "plaza->campus"
NUM_TRIALS, NUM_CONCURRENT, NUM_EPOCHS = 6, 1, 3
STUDY = f"""
[study]
search_transfers = ["{TRANSFER}"]
holdout = "plaza->station"
num_trials = {NUM_TRIALS}
num_startup_trials = {NUM_TRIALS}
concurrent_trials = {NUM_CONCURRENT}
pruner = "none"
contender_seeds = 1
race_trials = 0

[search]
"optimiser.learning_rate" = {{ low = 1e-4, high = 1e-2, log = true }}
"""
LINKS = {"10 Gbit/s": 10_000, "1 Gbit/s": 1_000}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="What starting and networks cost")
    parser.add_argument("what", choices=["start", "network"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daam-cluster-") as folder:
        scratch = Path(folder)
        root = open_store(str(scratch / "domains"))
        for name in ("plaza", "campus", "station"):
            add_domain(root, name, scratch=scratch / "images")
        measure = {"start": starts, "network": networks}[arguments.what]
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for number in range(arguments.rounds):
            for cell, value in measure(scratch, number=number):
                found[cell].append(value)
                print(f"round {number + 1}: {', '.join(cell)}: {value:.2f}", file=sys.stderr)
        print(as_markdown(found))


def as_markdown(found: dict[tuple[str, str], list[float]]) -> str:
    """Return the medians as a table: (row, column) -> values."""
    rows, columns = (list(dict.fromkeys(cell[n] for cell in found)) for n in (0, 1))
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    for row in rows:
        values = (found.get((row, column)) for column in columns)
        lines.append([row, *(f"{median(value):.2f}" if value else "" for value in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- starts --------------------------------------------------------------------------------------


class Epochs:
    """When each run below a folder has stored its epochs, seen from outside.

    Attributes:
        seen: run -> a pair for each epoch: the moment, and the seconds that the epoch took.
    """

    def __init__(self, folder: Path) -> None:
        self.seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._folder = folder
        self._is_over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look all the time within the block."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(POLL_S):
            now = time.monotonic()
            for reports in self._folder.rglob("reports.json"):
                run = str(reports.parent.relative_to(self._folder))
                rows = read_reports(open_store(str(reports.parent)))
                self.seen[run] += [(now, row["seconds"]) for row in rows[len(self.seen[run]) :]]


def starts(scratch: Path, *, number: int) -> Iterator[tuple[tuple[str, str], float]]:
    """Start a run and a study with one worker and with two."""
    file = scratch / "run.toml"
    file.write_text(TINY_RUN.replace("num_epochs = 2", f"num_epochs = {NUM_EPOCHS}"))
    study_file = scratch / "study.toml"
    study_file.write_text(file.read_text() + STUDY)
    root = ("--set", f"data.root={scratch / 'domains'}")
    for workers in (1, 2):
        column = f"{workers} worker{'s' * (workers > 1)}"
        name = f"{number}-{workers}"
        train = ("train", "--config", str(file), "--transfer", TRANSFER, "--workers", str(workers))
        begin, epochs = watch(scratch, "train", f"train-{name}", *train, *root)
        (run,) = epochs.values()
        yield ("`train`: command to first epoch, s", column), run[0][0] - begin
        tune = ("tune", "--config", str(study_file), "--workers-per-trial", str(workers))
        begin, epochs = watch(scratch, "tune", f"tune-{name}", *tune, *root)
        trials = [epochs[run] for run in sorted(epochs) if run.startswith("trials/")]
        contenders = [epochs[run] for run in epochs if run.startswith("holdout/")]
        searched = trials[-1][-1][0]
        yield ("`tune`: command to first epoch, s", column), trials[0][0][0] - begin
        pauses = [
            after[0][0] - after[0][1] - before[-1][0]
            for before, after in itertools.pairwise(trials)
        ]
        yield ("between two trials, s", column), median(pauses)
        first = min(run[0][0] - run[0][1] for run in contenders)
        yield ("search to first contender, s", column), first - searched
        trained = sum(seconds for run in trials[1:] for _, seconds in run)
        whole = searched - (trials[1][0][0] - trials[1][0][1])
        yield ("idle from the second trial on, %", column), 100 * (1 - trained / whole)


def watch(
    scratch: Path, word: str, name: str, *arguments: str
) -> tuple[float, dict[str, list[tuple[float, float]]]]:
    """Give a command; return when, and when each of its runs had stored its epochs."""
    storage = scratch / word
    epochs = Epochs(storage / name)
    begin = time.monotonic()
    words = (*arguments, "--name", name, "--storage", str(storage))
    with epochs.watched(), started(*words, scratch=scratch / f"out-{name}") as command:
        finished = command.finished(within_s=600)
    if finished.code != 0:
        raise SystemExit(f"{word} failed:\n{finished.err}")
    return begin, epochs.seen


# --- networks ------------------------------------------------------------------------------------


def networks(scratch: Path, *, number: int) -> Iterator[tuple[tuple[str, str], float]]:
    """Train on one host with two CPUs, and on two with one each, over links of some rates."""
    for num_hosts, links in ((1, {"one host": None}), (2, {"two hosts": None} | LINKS)):
        folder = scratch / f"lab-{number}-{num_hosts}"
        folder.mkdir()
        with Lab(folder, num_hosts=1 + num_hosts, num_cpus=2 // num_hosts) as lab:
            cluster = Cluster(lab=lab, cpus_of_head=0)
            cluster.fill_in(scratch / "domains")
            cluster.up()
            cluster.send("run.toml", TINY_RUN.replace("steps_per_epoch = 2", "steps_per_epoch = 5"))
            for link, mbit_per_s in links.items():
                for host in lab.hosts:
                    host.shape(mbit_per_s)
                job = f"link-{link.split()[0]}-{num_hosts}"
                cluster.submit(
                    job,
                    *("train", "--name", job, "--config", "run.toml", "--transfer", TRANSFER),
                    *("--workers", "2", "--set", "model.backbone=resnet50"),
                    *("--set", f"data.root={DOMAINS}", "--storage", STORE, "--address", "auto"),
                )
                if (state := cluster.wait(job)) != "SUCCEEDED":
                    raise SystemExit(f"{job}: {state}\n{cluster.log(job)}")
                row = read_reports(open_store(str(cluster.folder(job))))[-1]
                yield ("seconds per step", link), row["seconds/steps"] / 5


if __name__ == "__main__":
    main()
