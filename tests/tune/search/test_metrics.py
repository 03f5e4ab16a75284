"""What a study's driver publishes: states, restarts, the best score of the search."""

from typing import Any

import pytest

from tune.events import PROCESS_KILLED, Event
from tune.progress import StudyProgress
from tune.search import metrics
from tune.search.metrics import STATES, StudyMetrics


class Gauge:
    """Keeps what it was set to, by its tags."""

    all: dict[str, dict[tuple[str, ...], float]] = {}  # noqa: RUF012 - emptied by the fixture

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.values = self.all.setdefault(name, {})
        self.tag_keys = tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        self.values[tuple(tags.values())] = value


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[tuple[str, ...], float]]:
    monkeypatch.setattr(metrics, "Gauge", Gauge)
    Gauge.all.clear()
    return Gauge.all


def test_states_and_restarts_are_those_of_the_study(published: dict[str, Any]) -> None:
    forwarded = StudyProgress()
    watch = StudyMetrics("demo", watch=forwarded)
    watch.phase("search", num_runs=2, num_done=0, best=None)
    watch.progress("trial-0000", epoch=1, num_epochs=2, score=None)
    watch.progress("trial-0001", epoch=1, num_epochs=2, score=None)
    watch.event(Event(kind=PROCESS_KILLED, text="killed", run="trial-0001", restart=2))
    watch.ended("trial-0000", state="PRUNED", score=0.2)
    assert published["daam_run_state"] == {
        ("demo", "trial-0000"): STATES["PRUNED"],
        ("demo", "trial-0001"): STATES["RUNNING"],
    }
    assert published["daam_run_restarts"] == {("demo", "trial-0001"): 2}
    assert published["daam_study_best_score"] == {}
    assert [run.name for run in forwarded.not_over()] == ["trial-0001"]


def test_the_best_score_is_that_of_complete_trials_of_the_search(published: dict[str, Any]) -> None:
    watch = StudyMetrics("demo", watch=StudyProgress())
    watch.phase("search", num_runs=3, num_done=1, best=0.4)
    watch.ended("trial-0001", state="COMPLETE", score=0.3)
    assert published["daam_study_best_score"] == {("demo",): 0.4}
    watch.ended("trial-0002", state="COMPLETE", score=0.5)
    watch.phase("race, seed 2", num_runs=1, num_done=0, best=None)
    watch.ended("trial-0002-seed-2", state="COMPLETE", score=0.9)  # another seed is no new trial
    assert published["daam_study_best_score"] == {("demo",): 0.5}
