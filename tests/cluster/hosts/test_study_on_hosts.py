"""A study on two hosts, one of which loses its power, finds what it finds on one machine.

What an operator types, from `up` to `down`, in one story.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.hosts.cluster import DOMAINS, STORE, Cluster, until
from tests.cluster.hosts.host import Host
from tests.cluster.hosts.lab import Lab
from tests.cluster.hosts.outcome import epochs, study_outcome
from tests.support.commands import ran

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

NUM_EPOCHS = 16
STUDY = """
[study]
search_transfers = ["plaza->campus"]
num_trials = 3
num_startup_trials = 3
concurrent_trials = 2
pruner = "none"

[search]
"optimiser.learning_rate" = [1e-3, 3e-3, 1e-2]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was seen on the way.

    Attributes:
        trained: the names of the hosts that trained before one of them was lost.
        end: the job's last state.
        log: what the job printed.
        on_hosts, on_one_machine: what the same study found.
        joined: the names of the hosts in the cluster after the lost one had joined again.
        left: name of a host -> what still runs there after `down`.
    """

    trained: set[str]
    end: str
    log: str
    on_hosts: dict[str, Any]
    on_one_machine: dict[str, Any]
    joined: set[str]
    left: dict[str, list[str]]


@pytest.fixture(scope="module")
def story(
    start_lab: Callable[..., Lab],
    rendered: Path,
    settings: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    lab = start_lab(num_hosts=2)
    scratch = tmp_path_factory.mktemp("study")
    file = scratch / "study.toml"
    epochs_of_a_run = f"num_epochs = {NUM_EPOCHS}\nsteps_per_epoch = 6"
    file.write_text(
        re.sub(r"num_epochs = .*\nsteps_per_epoch = .*", epochs_of_a_run, settings) + STUDY
    )
    alone = ran("tune", "--config", str(file), "--set", f"data.root={rendered}", scratch=scratch)
    assert alone.code == 0, alone.err

    cluster = Cluster(lab=lab)
    cluster.fill_in(rendered)
    cluster.up()
    cluster.send("study.toml", file.read_text())
    places = ("--storage", STORE, "--set", f"data.root={DOMAINS}")
    cluster.submit("study", "tune", "--config", "study.toml", *places, "--address", "auto")
    study = cluster.folder("study")
    trained: set[str] = set()

    def is_lost_host_writing() -> bool:
        trained.update(host.name for host in lab.hosts if trial_on(cluster, host))
        trial = trial_on(cluster, lab.hosts[1])
        return bool(trial) and len(epochs(study / "trials" / trial / "plaza-campus")) > 1

    until(is_lost_host_writing, "the host that will be lost has stored epochs", within_s=180)
    lab.hosts[1].power_off()
    end = cluster.wait("study")
    log = cluster.log("study")
    lab.hosts[1].start()
    cluster.join(lab.hosts[1])
    joined = cluster.alive()
    cluster.down()
    with suppress(AssertionError):
        until(lambda: not any(host.processes() for host in lab.hosts), "all ended", within_s=20)
    return Story(
        trained=trained,
        end=end,
        log=log,
        on_hosts=study_outcome(study),
        on_one_machine=study_outcome(scratch / "runs" / "study"),
        joined=joined,
        left={host.name: list(host.processes().values()) for host in lab.hosts},
    )


def trial_on(cluster: Cluster, host: Host) -> str:
    """The trial that trains on a host now; empty if none does."""
    titles = " ".join(cluster.training(host).values())
    found = re.search(r"trial-\d+", titles)
    return found[0] if found else ""


def test_trials_train_on_every_host(story: Story) -> None:
    assert story.trained == {"host0", "host1"}


def test_a_study_that_lost_a_host_finds_what_it_finds_on_one_machine(story: Story) -> None:
    assert story.end == "SUCCEEDED", story.log
    assert story.on_hosts == story.on_one_machine
    assert len({trial["score"] for trial in story.on_hosts["trials"]}) > 1, "they differ"


def test_the_lost_host_joins_again_with_an_empty_disk(story: Story) -> None:
    assert story.joined == {"host0", "host1"}


def test_down_leaves_no_process_on_any_host(story: Story) -> None:
    assert story.left == {"host0": [], "host1": []}
