"""Faults on a cluster: what runs and studies find under them is what they find undisturbed.

The rows of the table are faults, its columns what they strike: a study while it searches (with
trials that TPE proposed) and while it trains its contenders, and a run of two workers. `make
cluster-lab` runs them all and writes the table to docs/cluster-lab.md.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.hosts.cluster import DOMAINS, STORE, Cluster, until
from tests.cluster.hosts.host import Host
from tests.cluster.hosts.lab import Lab
from tests.cluster.hosts.outcome import epochs, study_outcome
from tests.cluster.hosts.table import Table
from tests.support.commands import ran

pytestmark = [pytest.mark.cluster_lab, pytest.mark.timeout(1500)]

NUM_EPOCHS = 12
PARTITION_S, OUTAGE_S = 30, 20
SETTINGS = (f"optimiser.num_epochs={NUM_EPOCHS}", "optimiser.steps_per_epoch=6")
STUDY = """
[study]
search_transfers = ["plaza->campus"]
holdout = "plaza->station"
num_trials = 5
num_startup_trials = 2
num_startup_epochs = 4
concurrent_trials = 1
contender_seeds = 1
race_trials = 0

[search]
"optimiser.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"loss.target.num_neighbours" = { low = 3, high = 8 }
"""
COLUMNS = {
    "search": ("tune", "trials/trial-0003/plaza-campus"),
    "holdout": ("tune", "holdout/default/seed-1"),
    "train of 2": ("train", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A job in the middle of the work that a fault is to strike.

    Attributes:
        cluster: where it runs.
        word: the command, `tune` or `train`.
        job: its name, which is also the folder's in the store.
        run: the folder of what trains now.
        host: where that is.
    """

    cluster: Cluster
    word: str
    job: str
    run: Path
    host: Host

    @property
    def num_epochs(self) -> int:
        """How many epochs the run has finished."""
        return len(epochs(self.run))

    def wait_for_progress(self, *, num_epochs: int = 1) -> None:
        """Wait until the run has finished so many epochs more."""
        goal = self.num_epochs + num_epochs
        until(lambda: self.num_epochs >= goal, f"{self.run} goes on", within_s=180)

    def kill(self) -> None:
        """Kill what trains on the host."""
        for process in self.cluster.training(self.host):
            os.kill(process, signal.SIGKILL)

    def resume(self) -> str:
        """Submit a job that goes on with the work; return its name."""
        again = f"{self.job}-again"
        words = (self.word, "--resume", f"{STORE}/{self.job}", "--address", "auto")
        self.cluster.submit(again, *words)
        return again


# --- the faults: each returns the name of the job that ends the work ---------------------------


def nothing(scene: Scene) -> str:
    return scene.job


def process_killed(scene: Scene) -> str:
    scene.kill()
    return scene.job


def process_killed_three_times(scene: Scene) -> str:
    for _ in range(3):
        scene.kill()
        scene.wait_for_progress()
    return scene.job


def host_crashes(scene: Scene) -> str:
    scene.host.crash()
    return scene.job


def host_loses_power(scene: Scene) -> str:
    scene.host.power_off()
    return scene.job


def host_comes_back_empty(scene: Scene) -> str:
    scene.host.power_off()
    scene.host.start()
    scene.cluster.join(scene.host)
    assert scene.cluster.state(scene.job) == "RUNNING"
    return scene.job


def host_is_cut_off(scene: Scene) -> str:
    """And comes back when its run is further elsewhere; it must not store what it has."""
    began = time.monotonic()
    scene.host.set_link(up=False)
    scene.wait_for_progress(num_epochs=2)
    time.sleep(max(0, PARTITION_S - (time.monotonic() - began)))
    furthest = 0
    scene.host.set_link(up=True)
    for _ in range(100):
        now = scene.num_epochs
        assert now >= furthest, f"epoch {furthest} was replaced by {now}"
        furthest = now
        time.sleep(0.1)
    return scene.job


def head_is_lost(scene: Scene) -> str:
    scene.cluster.lab.head.power_off()
    scene.cluster.lab.head.start()
    scene.cluster.up()
    return scene.resume()


def driver_killed(scene: Scene) -> str:
    for process in scene.cluster.lab.head.processes(f"daam {scene.word}"):
        os.kill(process, signal.SIGKILL)
    assert scene.cluster.wait(scene.job) == "FAILED"
    return scene.resume()


def job_stopped(scene: Scene) -> str:
    began = time.monotonic()
    scene.cluster.execute(f"ray job stop {scene.job}")
    assert scene.cluster.wait(scene.job) == "STOPPED"
    assert time.monotonic() - began < 30
    assert f"resume with: daam {scene.word} --resume" in scene.cluster.log(scene.job)
    return scene.resume()


def store_is_down(scene: Scene) -> str:
    scene.cluster.lab.store.stop()
    time.sleep(OUTAGE_S)
    scene.cluster.lab.store.start()
    return scene.job


def disk_is_full(scene: Scene) -> str:
    """So nothing that later runs read can be cached there, and Ray cannot write its logs."""
    scene.host.run(
        "dd if=/dev/zero of=/full bs=1M; dd if=/dev/zero of=/tmp/full bs=1M", check=False
    )
    return scene.job


FAULTS = {
    "nothing": nothing,
    "its process is killed": process_killed,
    "its process is killed three times": process_killed_three_times,
    "its host crashes": host_crashes,
    "its host loses power": host_loses_power,
    "its host comes back with an empty disk and joins": host_comes_back_empty,
    f"its host is cut off for {PARTITION_S} s while it writes": host_is_cut_off,
    "the head is lost; up, resume": head_is_lost,
    "the driver is killed; resume": driver_killed,
    "the job is stopped; resume": job_stopped,
    f"the store is down for {OUTAGE_S} s": store_is_down,
    "its host's disk is full": disk_is_full,
}
BUSY = "the store turns away half of all requests"
TWO_STUDIES = "another study runs beside it"
ROWS = [*FAULTS, BUSY, TWO_STUDIES]
STRUCK = {
    "search": list(FAULTS.values()),
    "holdout": [process_killed, host_loses_power, driver_killed],
    # With both its hosts: there is no third one to train on.
    "train of 2": [
        nothing,
        process_killed,
        host_comes_back_empty,
        driver_killed,
        job_stopped,
        store_is_down,
    ],
}


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table(rows=ROWS, columns=list(COLUMNS))
    yield table
    table.write()


@pytest.fixture(scope="module")
def study_file(settings: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "study.toml"
    path.write_text(settings + STUDY)
    return path


@pytest.fixture(scope="module")
def run_file(settings: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "run.toml"
    path.write_text(settings)
    return path


def words_of(column: str, *, name: str, file: str, root: str, storage: str) -> list[str]:
    """The command of a column."""
    word, _ = COLUMNS[column]
    own = ("--transfer", "plaza->campus", "--workers", "2") if word == "train" else ()
    places = ("--storage", storage, "--set", f"data.root={root}")
    changes = [text for change in SETTINGS for text in ("--set", change)]
    return [word, "--name", name, "--config", file, *own, *places, *changes]


def outcome_of(column: str, folder: Path) -> Any:
    """What a column's command found in its folder."""
    return epochs(folder) if COLUMNS[column][0] == "train" else study_outcome(folder)


@pytest.fixture(scope="module")
def undisturbed(
    rendered: Path, study_file: Path, run_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Any]:
    """What a column's command finds on this machine alone; run when it is first asked for."""
    scratch = tmp_path_factory.mktemp("undisturbed")
    found: dict[str, Any] = {}

    def of(column: str) -> Any:
        word, _ = COLUMNS[column]
        if word not in found:
            file = run_file if word == "train" else study_file
            places = {"file": str(file), "root": str(rendered), "storage": str(scratch)}
            alone = ran(*words_of(column, name=word, **places), scratch=scratch / "out")
            assert alone.code == 0, alone.err
            found[word] = outcome_of(column, scratch / word)
        return found[word]

    return of


@pytest.fixture(scope="module")
def new_cluster(
    start_lab: Callable[..., Lab], rendered: Path, study_file: Path, run_file: Path
) -> Cluster:
    """Three hosts; the head trains nothing, so that a fault finds a worker's host."""
    lab = start_lab(num_hosts=3)
    cluster = Cluster(lab=lab, cpus_of_head=0)
    cluster.fill_in(rendered)
    cluster.up()
    return cluster


@pytest.fixture
def cluster(new_cluster: Cluster, study_file: Path, run_file: Path) -> Cluster:
    """The same with every host in it, whatever the test before has done."""
    lab = new_cluster.lab
    for host in lab.hosts:
        if not host.is_up:
            host.start()
        host.run("rm -f /full /tmp/full")
    if lab.head.name not in new_cluster.alive():
        new_cluster.up()
    for host in lab.hosts:
        if host.name not in new_cluster.alive():
            new_cluster.join(host)
    until(lambda: len(new_cluster.alive()) == len(lab.hosts), "every host is in the cluster")
    for file in (study_file, run_file):
        new_cluster.send(file.name, file.read_text())
    return new_cluster


def submit(cluster: Cluster, column: str, *, job: str, endpoint: str = "") -> None:
    """Submit the command of a column, for the store at an endpoint if it is not the usual one."""
    there = f"?endpoint={endpoint}" if endpoint else ""
    file = "run.toml" if COLUMNS[column][0] == "train" else "study.toml"
    places = {"file": file, "root": f"{DOMAINS}{there}", "storage": f"{STORE}{there}"}
    cluster.submit(job, *words_of(column, name=job, **places), "--address", "auto")


def begun(cluster: Cluster, column: str, *, job: str) -> Scene:
    """Submit the command of a column, and wait until it is where the fault is to strike."""
    word, run = COLUMNS[column]
    submit(cluster, column, job=job)
    folder = cluster.folder(job) / run
    until(
        lambda: 2 < len(epochs(folder)) < NUM_EPOCHS - 4,
        f"{job} is in the middle of {run or 'its run'}",
        within_s=300,
    )
    host = next(host for host in cluster.lab.hosts[:0:-1] if cluster.training(host))
    return Scene(cluster=cluster, word=word, job=job, run=folder, host=host)


@pytest.mark.parametrize(
    ("fault", "column"),
    [
        (fault, column)
        for fault, strike in FAULTS.items()
        for column in COLUMNS
        if strike in STRUCK[column]
    ],
)
def test_what_is_found_is_what_is_found_undisturbed(
    fault: str, column: str, cluster: Cluster, undisturbed: Callable[[str], Any], table: Table
) -> None:
    with table.cell(fault, column):
        job = f"{column}-{ROWS.index(fault)}".replace(" ", "-")
        scene = begun(cluster, column, job=job)
        last = FAULTS[fault](scene)
        assert cluster.wait(last) == "SUCCEEDED", cluster.log(last)
        assert outcome_of(column, cluster.folder(job)) == undisturbed(column)


@pytest.mark.parametrize("column", ["search", "train of 2"])
def test_a_busy_store_changes_nothing(
    column: str, cluster: Cluster, undisturbed: Callable[[str], Any], table: Table
) -> None:
    with table.cell(BUSY, column), cluster.lab.store.busy(share=0.5) as endpoint:
        job = f"busy-{COLUMNS[column][0]}"
        submit(cluster, column, job=job, endpoint=endpoint)
        assert cluster.wait(job) == "SUCCEEDED", cluster.log(job)
        assert outcome_of(column, cluster.folder(job)) == undisturbed(column)


def test_two_studies_at_once_find_what_each_finds_alone(
    cluster: Cluster, undisturbed: Callable[[str], Any], table: Table
) -> None:
    with table.cell(TWO_STUDIES, "search"):
        jobs = ("one", "other")
        for job in jobs:
            submit(cluster, "search", job=job)
        for job in jobs:
            assert cluster.wait(job) == "SUCCEEDED", cluster.log(job)
            assert outcome_of("search", cluster.folder(job)) == undisturbed("search")


def test_down_leaves_nothing_while_workers_train(cluster: Cluster) -> None:
    begun(cluster, "search", job="down")
    cluster.down()
    until(
        lambda: not any(host.processes() for host in cluster.lab.hosts),
        "no process is left on any host",
    )
    for host in cluster.lab.hosts:
        assert host.run("find /tmp /dev/shm -mindepth 1 -not -type d") == "", host.name
