"""Ray Tune's events reach the watch of a study, in the study's own words."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError

from daam.runs.run_folder import REPEATS
from daam.runs.worker import REPORTED_BEFORE
from tune.events import (
    ERROR,
    HOST_JOINED,
    HOST_LOST,
    OUT_OF_MEMORY,
    PROCESS_KILLED,
    TRAINS_ON,
    Event,
)
from tune.search.faults import ATTEMPT, HOSTS, Hosts
from tune.search.launching import EPOCH, FAILURE, LAST_EPOCH, SCORE
from tune.search.watch import WatchCallback


class Seen:
    """A watch that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.faults: list[Event] = []
        self.num_steps = 0

    def phase(
        self,
        title: str,
        *,
        num_runs: int,
        num_done: int,
        best: float | None,
        budget_s: float | None = None,
    ) -> None:
        self.events.append((title, num_runs, num_done))

    def progress(
        self, name: str, *, epoch: int, num_epochs: int, score: float | None, note: str = ""
    ) -> None:
        self.events.append((name, epoch, num_epochs, score, *([note] if note else [])))

    def step(self) -> None:
        self.num_steps += 1

    def event(self, event: Event) -> None:
        self.faults.append(event)

    def ended(self, name: str, *, state: str, score: float | None, reason: str = "") -> None:
        self.events.append((name, state, score, reason))


def told(
    watch: Seen, *, state: str = "", reason: str = "", hosts: Hosts | None = None
) -> WatchCallback:
    return WatchCallback(
        watch,
        name_of=lambda trial: trial.name,
        state_of=lambda _: state,
        reason_of=lambda _: reason,
        max_restarts=3,
        hosts=hosts or cluster("10.0.0.1"),
    )


def cluster(*addresses: str, nodes: list[dict[str, Any]] | None = None) -> Hosts:
    """A cluster of these hosts; `nodes` may change later."""
    alive = [node_at(address) for address in addresses] if nodes is None else nodes
    ticks = itertools.count(step=10)
    return Hosts(nodes=lambda: alive, clock=lambda: next(ticks))


def node_at(address: str, *, alive: bool = True) -> dict[str, Any]:
    return {"NodeManagerAddress": address, "Alive": alive, "Resources": {"CPU": 2.0}}


def a_trial(result: dict[str, Any] | None, *, error: Exception | None = None) -> Any:
    return SimpleNamespace(
        name="trial-0003",
        last_result=result,
        pickled_error_file=None,
        get_pickled_error=lambda: error,
    )


def an_epoch(epoch: int, *, on: str, attempt: str = "a", **more: Any) -> dict[str, Any]:
    return {EPOCH: epoch, LAST_EPOCH: 6, HOSTS: on, ATTEMPT: attempt, **more}


def test_an_epoch_and_an_end_are_told() -> None:
    watch = Seen()
    callback = told(watch, state="COMPLETE")
    result = {EPOCH: 2, LAST_EPOCH: 2, SCORE: 0.5}
    callback.on_trial_result(1, [], a_trial(result), result)
    callback.on_trial_complete(1, [], a_trial(result))
    assert watch.events == [("trial-0003", 2, 2, 0.5), ("trial-0003", "COMPLETE", 0.5, "")]


def test_a_failure_has_no_score() -> None:
    watch = Seen()
    why = "the loss became nan"
    callback = told(watch, state="FAIL", reason=why)
    result = {EPOCH: 0, LAST_EPOCH: 2, SCORE: 0.0, FAILURE: why}
    callback.on_trial_result(1, [], a_trial(result), result)
    callback.on_trial_complete(1, [], a_trial(result))
    callback.on_trial_error(1, [], a_trial(None))
    assert watch.events == [("trial-0003", "FAIL", None, why)] * 2


def test_a_contender_reports_epochs_without_a_score() -> None:
    watch = Seen()
    result = {EPOCH: 1, LAST_EPOCH: 2}
    told(watch, state="COMPLETE").on_trial_result(1, [], a_trial(result), result)
    assert watch.events == [("trial-0003", 1, 2, None)]


NODE_DIED = RayActorError(
    error_msg="The actor died unexpectedly.\n\tip: 10.0.0.1\nThe actor died because its node has "
    "died. Node Id: 4f\n\tthe node's health check failed"
)


@pytest.mark.parametrize(
    ("error", "alive", "kind", "cause"),
    [
        (NODE_DIED, True, HOST_LOST, "host 10.0.0.1 lost"),
        (ActorDiedError(), False, HOST_LOST, "host 10.0.0.1 lost"),
        (ActorDiedError(), True, PROCESS_KILLED, "its process was killed (out of memory?)"),
        (
            OutOfMemoryError("Task was killed due to the node running low on memory."),
            True,
            OUT_OF_MEMORY,
            "Ray ended its process, since its host is short of memory",
        ),
        (ValueError("not a\nnumber"), True, ERROR, "ValueError: not a number"),
    ],
)
def test_a_restart_is_one_line_with_its_cause(
    error: Exception, alive: bool, kind: str, cause: str
) -> None:
    watch = Seen()
    hosts = cluster(nodes=[node_at("10.0.0.1", alive=alive), node_at("10.0.0.2")])
    callback = told(watch, hosts=hosts)
    result = an_epoch(2, on="10.0.0.1")
    callback.on_trial_result(1, [], a_trial(result), result)
    callback.on_trial_recover(1, [], a_trial(result, error=error))
    again = an_epoch(3, on="10.0.0.2", attempt="b")
    callback.on_trial_result(1, [], a_trial(again), again)
    begun, restart, begun_again = watch.faults
    assert (begun.kind, begun.host, begun.run) == (TRAINS_ON, "10.0.0.1", "trial-0003")
    assert restart.text == f"trial-0003: {cause}, restart 1 of 3, continues from epoch 2"
    assert (restart.kind, restart.run, restart.host) == (kind, "trial-0003", "10.0.0.1")
    assert (restart.restart, restart.epoch) == (1, 2)
    assert (begun_again.kind, begun_again.host) == (TRAINS_ON, "10.0.0.2")


def test_restarts_are_counted_and_one_before_the_first_epoch_begins_again() -> None:
    watch = Seen()
    callback = told(watch)
    for _ in range(2):
        callback.on_trial_recover(1, [], a_trial(None, error=ActorDiedError()))
    assert [event.text.partition(", ")[2] for event in watch.faults] == [
        "restart 1 of 3, begins again",
        "restart 2 of 3, begins again",
    ]


def test_a_group_of_workers_that_starts_again_by_itself_is_a_restart_too() -> None:
    watch = Seen()
    nodes = [node_at("10.0.0.1"), node_at("10.0.0.2")]
    callback = told(watch, hosts=cluster(nodes=nodes))
    for result in (
        an_epoch(1, on="10.0.0.1,10.0.0.2", attempt="a"),
        an_epoch(2, on="10.0.0.1,10.0.0.2", attempt="a"),
        an_epoch(3, on="10.0.0.1,10.0.0.2", attempt="b"),
    ):
        callback.on_trial_result(1, [], a_trial(result), result)
    nodes[1] = node_at("10.0.0.2", alive=False)
    result = an_epoch(4, on="10.0.0.1", attempt="c")
    callback.on_trial_result(1, [], a_trial(result), result)
    assert [event.text for event in watch.faults if event.kind != TRAINS_ON] == [
        "trial-0003: one of its workers died, restart 1 of 3, continues from epoch 2",
        "trial-0003: host 10.0.0.2 lost, restart 2 of 3, continues from epoch 3",
    ]


def test_a_trial_that_is_run_again_later_counts_its_restarts_anew() -> None:
    watch = Seen()
    callback = told(watch, state="INTERRUPTED")
    for attempt in "ab":
        callback.on_trial_recover(1, [], a_trial(None, error=ActorDiedError()))
        result = an_epoch(1, on="10.0.0.1", attempt=attempt)
        callback.on_trial_result(1, [], a_trial(result), result)
        callback.on_trial_error(1, [], a_trial(None, error=ActorDiedError()))
    assert [event.restart for event in watch.faults if event.restart] == [1, 1]


@pytest.mark.parametrize(
    ("metrics", "note"),
    [({REPORTED_BEFORE: True}, ["stored"]), ({REPEATS: 1}, ["trained again"]), ({}, [])],
)
def test_epochs_that_are_repeated_are_marked(metrics: dict[str, Any], note: list[str]) -> None:
    watch = Seen()
    result = an_epoch(1, on="10.0.0.1", **metrics)
    told(watch).on_trial_result(1, [], a_trial(result), result)
    assert watch.events == [("trial-0003", 1, 6, None, *note)]


def test_hosts_that_join_and_leave_are_said_once() -> None:
    watch = Seen()
    nodes = [node_at("10.0.0.1"), node_at("10.0.0.2")]
    callback = told(watch, hosts=cluster(nodes=nodes))
    callback.on_step_begin(1, [])
    nodes[1] = node_at("10.0.0.2", alive=False)
    for _ in range(2):
        callback.on_step_begin(1, [])
    nodes.append(node_at("10.0.0.3"))
    callback.on_step_begin(1, [])
    assert [(event.kind, event.text, event.host) for event in watch.faults] == [
        (HOST_LOST, "host 10.0.0.2 lost, 1 host is left", "10.0.0.2"),
        (HOST_JOINED, "host 10.0.0.3 joined, there are 2 now", "10.0.0.3"),
    ]
    assert watch.num_steps == 4
