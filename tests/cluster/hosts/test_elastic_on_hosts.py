"""A run goes on with fewer workers while a host is missing, and with all once it is back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daam.runs.attempts import attempt_keys, read_attempt
from daam.storage import open_store
from tests.cluster.hosts.cluster import DOMAINS, STORE, Cluster, until
from tests.cluster.hosts.lab import Lab
from tests.cluster.hosts.outcome import epochs
from tests.support.commands import started

pytestmark = [pytest.mark.cluster_lab, pytest.mark.timeout(1200)]

# The host comes back in the middle of the run, and it grows again before its end.
TRAIN = (
    *("train", "--name", "elastic", "--config", "run.toml", "--transfer", "plaza->campus"),
    *("--workers", "2", "--set", "compute.min_workers=1"),
    *("--set", "optimiser.num_epochs=60", "--set", "optimiser.steps_per_epoch=60"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was seen on the way.

    Attributes:
        workers: how many trained, in each attempt.
        began: the last epoch that was stored when each attempt began.
        epochs: what the run reported.
        undisturbed: what the same run reports on one machine, up to some epoch.
        log: what the job printed.
    """

    workers: list[int | None]
    began: list[int]
    epochs: list[dict[str, Any]]
    undisturbed: list[dict[str, Any]]
    log: str


@pytest.fixture(scope="module")
def story(
    start_lab: Callable[..., Lab],
    rendered: Path,
    settings: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    cluster = Cluster(lab=start_lab(num_hosts=3), cpus_of_head=0)
    cluster.fill_in(rendered)
    cluster.up()
    cluster.send("run.toml", settings)
    places = ("--storage", STORE, "--set", f"data.root={DOMAINS}", "--address", "auto")
    cluster.submit("elastic", *TRAIN, *places)
    folder = cluster.folder("elastic")
    run = open_store(str(folder))

    def workers() -> list[int | None]:
        return [read_attempt(run, key).num_workers for key in attempt_keys(run)]

    def wait_for(wanted: int) -> None:
        until(lambda: workers()[-1:] == [wanted], f"{wanted} workers train", within_s=240)
        goal = len(epochs(folder)) + 1
        until(lambda: len(epochs(folder)) >= goal, "an epoch more is done", within_s=120)

    wait_for(2)
    host = next(host for host in cluster.lab.hosts[1:] if cluster.training(host))
    host.power_off()
    wait_for(1)
    host.start()
    cluster.join(host)
    wait_for(2)
    cluster.execute("ray job stop elastic")
    cluster.wait("elastic")

    scratch = tmp_path_factory.mktemp("undisturbed")
    (scratch / "run.toml").write_text(settings)
    alone = scratch / "runs" / "elastic"
    began = [read_attempt(run, key).epoch or 0 for key in attempt_keys(run)]
    with started(*TRAIN, "--set", f"data.root={rendered}", scratch=scratch) as command:
        command.until(lambda: alone.is_dir() and len(epochs(alone)) > began[1])
    return Story(
        workers=workers(),
        began=began,
        epochs=epochs(folder),
        undisturbed=epochs(alone),
        log=cluster.log("elastic"),
    )


def test_it_goes_on_with_fewer_workers_and_then_with_all_again(story: Story) -> None:
    assert story.workers == [2, 1, 2]
    assert [row["epoch"] for row in story.epochs] == list(range(1, 1 + len(story.epochs)))


def test_each_change_is_a_line(story: Story) -> None:
    _, lost, grown = story.began
    assert f"A worker was lost: 1 of 2 workers train from epoch {lost + 1} on" in story.log
    assert f"There is room for more: 2 of 2 workers train from epoch {grown + 1} on" in story.log


def test_the_epochs_before_the_first_change_are_those_of_an_undisturbed_run(story: Story) -> None:
    stored = story.began[1]
    assert stored
    assert story.epochs[:stored] == story.undisturbed[:stored]


def test_the_losses_stay_where_they_were(story: Story) -> None:
    """They are not the same: batch norm sees the images of one worker, and those are now more."""
    lost = story.began[1]
    before, after = story.epochs[lost - 1], story.epochs[lost]
    assert math.isclose(before["loss/identity"], after["loss/identity"], rel_tol=0.2)
