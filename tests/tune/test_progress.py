"""What is known of a study while it runs."""

import pytest

from tune.progress import StudyProgress


@pytest.fixture
def study() -> StudyProgress:
    """Ten seconds into a search of four runs."""
    study = StudyProgress()
    study.phase("search", num_runs=4, num_done=0, best=None)
    study.began -= 10
    return study


def test_the_time_left_is_unknown_before_anything_is_done(study: StudyProgress) -> None:
    assert study.seconds_left() is None


def test_the_time_left_counts_runs_by_the_epochs_they_have_done(study: StudyProgress) -> None:
    study.progress("a", epoch=1, num_epochs=4, score=0.1)
    assert study.seconds_left() == pytest.approx(
        150, abs=1
    )  # a quarter of a run took 10 s, 3.75 are left
    study.progress("a", epoch=2, num_epochs=4, score=0.1)
    study.progress("b", epoch=2, num_epochs=4, score=0.1)
    assert study.seconds_left() == pytest.approx(30, abs=1)


def test_a_run_that_was_stopped_early_counts_as_whole(study: StudyProgress) -> None:
    study.progress("a", epoch=1, num_epochs=4, score=0.1)
    study.ended("a", state="PRUNED", score=0.1)
    assert study.seconds_left() == pytest.approx(30, abs=1)


def test_the_pace_is_that_of_this_process(study: StudyProgress) -> None:
    study.phase("search", num_runs=4, num_done=2, best=None)
    study.began -= 10
    study.ended("c", state="COMPLETE", score=0.1)
    assert study.num_over() == 3
    assert study.seconds_left() == pytest.approx(10, abs=1)


def test_the_best_is_that_of_complete_runs(study: StudyProgress) -> None:
    assert study.best() is None
    study.progress("running", epoch=1, num_epochs=2, score=0.9)
    study.ended("pruned", state="PRUNED", score=0.8)
    study.ended("failed", state="FAIL", score=0.7)
    assert study.best() is None
    study.ended("complete", state="COMPLETE", score=0.6)
    study.ended("worse", state="COMPLETE", score=0.5)
    assert study.best() == 0.6


def test_the_best_of_an_earlier_process_counts(study: StudyProgress) -> None:
    study.phase("search", num_runs=4, num_done=2, best=0.7)
    assert study.best() == 0.7
    study.ended("c", state="COMPLETE", score=0.6)
    assert study.best() == 0.7
    study.ended("d", state="COMPLETE", score=0.8)
    assert study.best() == 0.8


def test_a_new_phase_begins_with_nothing(study: StudyProgress) -> None:
    study.ended("a", state="COMPLETE", score=0.6)
    study.phase("comparison on plaza->station", num_runs=9, num_done=0, best=None)
    assert study.best() is None
    assert study.num_over() == 0
