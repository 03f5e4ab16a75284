"""What became of each trial is in the Optuna study, and is what really became of it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
)
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from daam.config.load import setting
from daam.errors import (
    NonFiniteLossError,
    ShardError,
    StorageError,
    StudyError,
    StudyInterruptedError,
    StudyPausedError,
    WorkersError,
)
from daam.storage import Store
from daam.storage.local import LocalStore
from tune.budget import CostMeter
from tune.folder.folder import (
    JOURNAL,
    open_study,
    read_folder,
    spent_on,
    unused_folder,
    write_settings,
)
from tune.search.faults import reason_of
from tune.search.launching import EPOCH, LAST_EPOCH, OF_TRANSFER, SCORE, TRAINING_S, failed
from tune.search.searcher import INTERRUPTED, OptunaPruning, OptunaSearcher
from tune.settings import StudyConfig, study_config
from tune.study import best_of, check_finished, enqueue_starts, is_search_over

NUM_EPOCHS = 3
DISK_FULL = StorageError("no space left to write trials/trial-0001/latest.json; free some")
OUTSIDE = (
    DISK_FULL,
    ShardError("plaza/train-00001.arrow is damaged; import again"),
    WorkersError("training failed on its workers after 3 restarts"),
    OSError(28, "No space left on device"),
    ActorDiedError(),
    OutOfMemoryError("the node ran low on memory"),
    NodeDiedError("the node is gone"),
)
WEIGHT, RATE = "loss.domain_similarity.weight", "optimiser.learning_rate"


@pytest.fixture
def config() -> StudyConfig:
    return study_config(
        {
            "study": {
                "search_transfers": ["plaza->campus", "campus->plaza"],
                "holdout": "plaza->station",
                "num_trials": 4,
                "num_startup_trials": 1,
                "num_startup_epochs": 2,
            },
            "search": {
                WEIGHT: {"low": 0.5, "high": 50.0, "log": True},
                RATE: {"low": 1e-4, "high": 1e-2, "log": True},
            },
            "loss": {"domain_similarity": {"weight": 7.0}},
        },
        {},
    )


class Process:
    """A driver over the study's folder: what Ray Tune would call, in the order it calls it."""

    def __init__(self, config: StudyConfig, folder: Store, scratch: Path) -> None:
        scratch.mkdir()
        self.now, self.scratch = 0.0, scratch
        self.study, self.publish = open_study(folder, config, scratch=scratch)
        enqueue_starts(config, self.study)
        self.searcher = OptunaSearcher(
            self.study,
            config.space(),
            num_trials=config.study.num_trials,
            meter=CostMeter(self.study, now=lambda: self.now),
            budget=config.time_budget(),
            max_interrupted=config.study.max_interrupted,
            saved=self.publish,
        )
        self.scheduler = OptunaPruning(self.searcher)

    def epoch(self, trial_id: str, epoch: int, score: float) -> str:
        """Report an epoch; return the scheduler's decision."""
        result = result_of(epoch, score)
        trial: Any = SimpleNamespace(trial_id=trial_id)
        decision = self.scheduler.on_trial_result(None, trial, result)
        self.searcher.on_trial_result(trial_id, result)
        if decision == TrialScheduler.STOP:
            self.searcher.on_trial_complete(trial_id, result=result)
        return decision

    def run(self, trial_id: str, score: float) -> dict[str, Any]:
        """Run a trial to its end; return its number and parameters."""
        sample = self.searcher.suggest(trial_id)
        for epoch in range(1, NUM_EPOCHS + 1):
            assert self.epoch(trial_id, epoch, score) == TrialScheduler.CONTINUE
        self.searcher.on_trial_complete(trial_id, result=result_of(NUM_EPOCHS, score))
        return sample

    def fail(self, trial_id: str, error: Exception) -> None:
        """End a trial with an error: one it reports itself, or what Ray says of its process."""
        if isinstance(error, RayError):
            trial: Any = SimpleNamespace(
                trial_id=trial_id, pickled_error_file=None, get_pickled_error=lambda: error
            )
            self.scheduler.on_trial_error(None, trial)
            self.searcher.on_trial_complete(trial_id, error=True)
        else:
            result = failed(error, num_epochs=NUM_EPOCHS)
            self.searcher.on_trial_complete(trial_id, result=result)

    def trial(self, number: int) -> optuna.trial.FrozenTrial:
        return self.study.get_trials()[number]


def result_of(epoch: int, score: float) -> dict[str, Any]:
    return {
        EPOCH: epoch,
        LAST_EPOCH: NUM_EPOCHS,
        SCORE: score,
        TRAINING_S: 100 * score * epoch,
        f"{OF_TRANSFER}plaza->campus": score + 0.1,
        f"{OF_TRANSFER}campus->plaza": score - 0.1,
    }


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "study")


@pytest.fixture
def start(config: StudyConfig, folder: LocalStore, tmp_path: Path) -> Callable[[], Process]:
    """Starts a process after another over the same folder; each has its own scratch."""
    count = iter(range(100))
    return lambda: Process(config, folder, tmp_path / f"scratch{next(count)}")


def test_the_first_trial_has_the_default_settings(
    config: StudyConfig, start: Callable[[], Process]
) -> None:
    process = start()
    first, second = (process.searcher.suggest(trial_id) for trial_id in "ab")
    assert first["parameters"] == {path: setting(config.run, path) for path in config.search}
    assert first["number"] == 0
    assert second["parameters"] != first["parameters"]


def test_the_first_trial_is_a_draw_where_the_defaults_are_not_wanted(
    config: StudyConfig, folder: LocalStore, tmp_path: Path
) -> None:
    study = config.study.model_copy(update={"default_first": False})
    process = Process(config.model_copy(update={"study": study}), folder, tmp_path / "scratch")
    assert process.searcher.suggest("a")["parameters"][WEIGHT] != 7.0


def test_a_trial_that_reaches_its_end_is_complete_with_its_scores(
    start: Callable[[], Process],
) -> None:
    process = start()
    process.run("a", 0.4)
    trial = process.trial(0)
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 0.4
    assert trial.intermediate_values == {1: 0.4, 2: 0.4, 3: 0.4}
    assert trial.user_attrs["scores"] == pytest.approx({"plaza->campus": 0.5, "campus->plaza": 0.3})


def test_a_trial_that_falls_behind_is_pruned_and_never_complete(
    start: Callable[[], Process],
) -> None:
    process = start()
    process.run("a", 0.4)
    process.searcher.suggest("b")
    assert process.epoch("b", 1, 0.1) == TrialScheduler.CONTINUE  # within num_startup_epochs
    assert process.epoch("b", 2, 0.1) == TrialScheduler.STOP
    trial = process.trial(1)
    assert trial.state == TrialState.PRUNED
    assert process.searcher.state_of(1) == "PRUNED"
    assert process.study.best_trial.number == 0


def test_a_trial_is_not_stopped_after_its_last_epoch(start: Callable[[], Process]) -> None:
    process = start()
    process.run("a", 0.4)
    process.searcher.suggest("b")
    process.epoch("b", 1, 0.5)
    assert process.epoch("b", 3, 0.1) == TrialScheduler.CONTINUE
    process.searcher.on_trial_complete("b", result=result_of(3, 0.1))
    assert process.trial(1).state == TrialState.COMPLETE


def test_no_trial_is_stopped_before_enough_have_finished(start: Callable[[], Process]) -> None:
    process = start()
    for trial_id, score in (("a", 0.4), ("b", 0.1)):
        process.searcher.suggest(trial_id)
        assert process.epoch(trial_id, 2, score) == TrialScheduler.CONTINUE


def test_a_trial_that_fails_for_its_parameters_is_a_failure(start: Callable[[], Process]) -> None:
    process = start()
    process.searcher.suggest("a")
    process.epoch("a", 1, 0.9)
    result = failed(NonFiniteLossError("the loss became nan"), num_epochs=NUM_EPOCHS)
    trial: Any = SimpleNamespace(trial_id="a")
    assert process.scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE
    process.searcher.on_trial_complete("a", result=result)
    assert process.trial(0).state == TrialState.FAIL
    assert process.searcher.reason_of(0) == "the loss became nan"
    assert process.searcher.num_left == 3


def test_a_bug_that_a_trial_meets_is_a_failure_with_its_reason(
    start: Callable[[], Process],
) -> None:
    process = start()
    process.searcher.suggest("a")
    process.fail("a", RayTaskError("train", "Traceback ...", ZeroDivisionError("by zero")))
    assert process.trial(0).state == TrialState.FAIL
    assert process.searcher.reason_of(0) == "ZeroDivisionError: by zero"


def test_a_gpu_without_enough_memory_is_the_trials_own_failure(
    start: Callable[[], Process],
) -> None:
    process = start()
    process.searcher.suggest("a")
    process.fail("a", RayTaskError("train", "Traceback ...", torch.OutOfMemoryError("CUDA")))
    assert process.trial(0).state == TrialState.FAIL
    assert process.searcher.reason_of(0) == "OutOfMemoryError: CUDA"


@pytest.mark.parametrize("error", OUTSIDE, ids=lambda error: type(error).__name__)
def test_a_trial_that_fails_for_its_surroundings_is_resumed(
    start: Callable[[], Process], error: Exception
) -> None:
    process = start()
    before = process.searcher.suggest("a")
    process.fail("a", error)
    assert process.trial(0).state == TrialState.RUNNING
    assert process.searcher.state_of(0) == INTERRUPTED
    assert process.searcher.reason_of(0) == reason_of(error)
    others = [process.run(trial_id, 0.4)["number"] for trial_id in "bcd"]
    assert others == [1, 2, 3]  # what is not yet begun comes first
    assert process.run("e", 0.5) == before
    assert process.searcher.suggest("f") == Searcher.FINISHED
    assert process.searcher.reason_of(0) == ""


def test_the_search_waits_for_a_trial_that_may_have_to_be_resumed(
    start: Callable[[], Process],
) -> None:
    process = start()
    for trial_id in "abc":
        process.run(trial_id, 0.4)
    before = process.searcher.suggest("d")
    assert process.searcher.suggest("e") is None
    process.fail("d", DISK_FULL)
    assert process.searcher.suggest("f") == before


def test_a_full_disk_pauses_the_search_and_uses_up_no_trial(
    start: Callable[[], Process], config: StudyConfig, folder: LocalStore
) -> None:
    process = start()
    process.run("a", 0.4)
    begun = []
    for trial_id in "bcd":
        begun.append(process.searcher.suggest(trial_id))
        process.fail(trial_id, DISK_FULL)
    assert process.searcher.suggest("e") == Searcher.FINISHED
    expected = f"paused after 1 of 4 trials.*no space left.*--resume {folder.uri}"
    with pytest.raises(StudyPausedError, match=expected):
        check_finished(config, folder, process.study, paused=process.searcher.paused)
    again = start()
    assert [again.run(trial_id, 0.5) for trial_id in "bcd"] == begun
    check_finished(config, folder, again.study)


def test_a_failure_that_follows_one_trial_is_its_own(start: Callable[[], Process]) -> None:
    process = start()
    process.searcher.suggest("a")
    for trial_id in "bcd":
        process.fail("a", ActorDiedError())
        process.run(trial_id, 0.4)
        process.searcher.suggest("a")
    process.fail("a", ActorDiedError())
    assert process.trial(0).state == TrialState.FAIL
    assert process.searcher.paused == ""


def test_a_trial_that_ray_restarted_is_complete_when_it_reaches_its_end(
    start: Callable[[], Process],
) -> None:
    process = start()
    process.searcher.suggest("a")
    trial: Any = SimpleNamespace(
        trial_id="a", pickled_error_file=None, get_pickled_error=lambda: ActorDiedError()
    )
    process.scheduler.on_trial_error(None, trial)
    process.epoch("a", NUM_EPOCHS, 0.4)
    process.searcher.on_trial_complete("a", result=result_of(NUM_EPOCHS, 0.4))
    assert process.trial(0).state == TrialState.COMPLETE


def test_a_study_whose_own_folder_is_full_pauses(config: StudyConfig, tmp_path: Path) -> None:
    process = Process(config, LocalStore(tmp_path / "study"), tmp_path / "scratch")

    def full() -> None:
        raise DISK_FULL

    process.searcher.saved = full
    process.searcher.suggest("a")
    assert process.searcher.suggest("b") == Searcher.FINISHED
    assert process.searcher.paused == str(DISK_FULL)


def test_the_best_score_is_that_of_complete_trials(start: Callable[[], Process]) -> None:
    process = start()
    assert process.searcher.best() is None
    process.searcher.suggest("a")
    process.epoch("a", 1, 0.9)
    assert process.searcher.best() is None
    process.run("b", 0.4)
    assert start().searcher.best() == 0.4


def test_an_interrupted_trial_is_taken_up_again_with_its_number_and_parameters(
    start: Callable[[], Process],
) -> None:
    process = start()
    process.run("a", 0.4)
    before = process.searcher.suggest("b")
    process.epoch("b", 1, 0.5)
    process.searcher.on_trial_complete("b", result=result_of(1, 0.5))  # as Ray does on Ctrl-C
    again = start()
    assert again.trial(1).state == TrialState.RUNNING
    assert again.searcher.num_left == 3
    assert again.searcher.suggest("c") == before
    assert again.searcher.suggest("d")["number"] == 2


def test_a_study_that_is_resumed_draws_what_it_would_have_drawn(
    config: StudyConfig, tmp_path: Path
) -> None:
    def parameters(name: str, *, processes: int) -> list[dict[str, Any]]:
        """Run two trials in each process; the first process ends with the second's begun."""
        folder, found = LocalStore(tmp_path / name), []
        process = Process(config, folder, tmp_path / f"{name}-0")
        for number in range(4):
            if number and processes > 1:
                process.searcher.suggest("interrupted")
                process = Process(config, folder, tmp_path / f"{name}-{number}")
            found.append(process.run(f"ray-{number}", 0.3 + 0.1 * number)["parameters"])
        return found

    undisturbed = parameters("one", processes=1)
    assert parameters("four", processes=4) == undisturbed
    assert len({str(found) for found in undisturbed}) == 4


def test_a_driver_that_is_killed_leaves_its_trials_open(start: Callable[[], Process]) -> None:
    samples = [start().searcher.suggest("a")]
    samples.append(start().searcher.suggest("b"))
    assert samples[0] == samples[1]


def test_a_finished_trial_is_not_run_again(start: Callable[[], Process]) -> None:
    process = start()
    for trial_id, score in (("a", 0.4), ("b", 0.5), ("c", 0.6)):
        process.run(trial_id, score)
    before = process.study.get_trials()
    again = start()
    assert again.run("d", 0.7)["number"] == 3
    assert again.searcher.suggest("e") == Searcher.FINISHED
    assert again.study.get_trials()[:3] == before


def test_an_epoch_that_is_yielded_again_is_not_recorded_twice(
    start: Callable[[], Process],
) -> None:
    process = start()
    process.searcher.suggest("a")
    process.epoch("a", 1, 0.5)
    process.publish()
    again = start()
    again.searcher.suggest("b")
    again.epoch("b", 1, 0.5)  # optuna warns of a second report, and warnings are errors here
    again.epoch("b", 2, 0.6)
    assert again.trial(0).intermediate_values == {1: 0.5, 2: 0.6}


def test_the_defaults_are_not_enqueued_again_by_a_process_that_goes_on(
    start: Callable[[], Process],
) -> None:
    process = start()
    process.run("a", 0.4)
    again = start()
    samples = [again.searcher.suggest(trial_id) for trial_id in "bcd"]
    assert [sample["number"] for sample in samples] == [1, 2, 3]
    assert all(sample["parameters"][WEIGHT] != 7.0 for sample in samples)


def test_a_study_that_was_killed_before_its_first_trial_still_begins_with_the_defaults(
    start: Callable[[], Process],
) -> None:
    start()
    assert start().searcher.suggest("a")["parameters"][WEIGHT] == 7.0


def test_what_is_known_is_in_the_folder_after_every_change(
    start: Callable[[], Process], folder: LocalStore
) -> None:
    process = start()
    process.searcher.suggest("a")
    size = folder.size(JOURNAL)
    process.epoch("a", 3, 0.5)
    process.searcher.on_trial_complete("a", result=result_of(3, 0.5))
    assert folder.size(JOURNAL) > size


def test_a_study_on_s3_goes_on_too(config: StudyConfig, s3_uri: str, tmp_path: Path) -> None:
    folder = unused_folder(s3_uri)
    process = Process(config, folder, tmp_path / "one")
    process.run("a", 0.4)
    before = process.searcher.suggest("b")
    again, tree = read_folder(s3_uri)
    process = Process(study_config(tree, {}), again, tmp_path / "two")
    assert process.trial(0).value == 0.4
    assert process.searcher.suggest("c") == before


def test_a_stopped_search_says_how_to_go_on(
    start: Callable[[], Process], config: StudyConfig, folder: LocalStore
) -> None:
    process = start()
    process.run("a", 0.4)
    with pytest.raises(StudyInterruptedError, match=f"1 of 4 trials.*--resume {folder.uri}"):
        check_finished(config, folder, process.study)


def test_a_search_without_a_score_says_why(
    start: Callable[[], Process], config: StudyConfig, folder: LocalStore
) -> None:
    process = start()
    for trial_id in "abcd":
        process.searcher.suggest(trial_id)
        process.fail(trial_id, NonFiniteLossError("the loss became nan"))
    with pytest.raises(
        StudyError, match=r"finished: 4 failed \(the loss became nan\); .*--trials 5$"
    ):
        check_finished(config, folder, process.study)


def test_trials_that_failed_are_not_said_to_have_been_stopped_early(
    start: Callable[[], Process], config: StudyConfig, folder: LocalStore
) -> None:
    process = start()
    for trial_id in "abc":
        process.searcher.suggest(trial_id)
        process.fail(trial_id, NonFiniteLossError("the loss became nan"))
    process.searcher.suggest("d")
    process.searcher.stopped_early.add("d")
    process.searcher.on_trial_complete("d", result=result_of(2, 0.1))
    with pytest.raises(StudyError, match=r"3 failed \(the loss became nan\), 1 stopped early;"):
        check_finished(config, folder, process.study)


def test_a_study_is_read_back_as_it_was_started(config: StudyConfig, folder: LocalStore) -> None:
    write_settings(folder, config)
    again, tree = read_folder(folder.uri)
    assert again.uri == folder.uri
    assert study_config(tree, {}) == config


def test_a_study_is_not_started_over_another(config: StudyConfig, folder: LocalStore) -> None:
    write_settings(folder, config)
    with pytest.raises(StudyError, match=f"--resume {folder.uri}"):
        unused_folder(folder.uri)


def test_a_folder_without_a_study_is_named(folder: LocalStore) -> None:
    with pytest.raises(StudyError, match=f"there is no study in {folder.uri}"):
        read_folder(folder.uri)


def small_space(config: StudyConfig, search: dict[str, Any], **study: Any) -> StudyConfig:
    tree = {"study": config.study.model_dump() | study, "search": search}
    return study_config(tree | {"loss": config.run.loss.model_dump()}, {})


def test_no_combination_is_tried_twice_and_a_space_that_is_used_up_ends_the_search(
    config: StudyConfig, folder: LocalStore, tmp_path: Path
) -> None:
    kind, exemplars = "loss.target.kind", "loss.target.num_exemplars"
    search = {
        kind: ["soft_label", "exemplar"],
        exemplars: {"low": 4, "high": 6, "when": {kind: "exemplar"}},
        RATE: {"low": 1e-4, "high": 3.5e-4, "step": 2.5e-4},
    }
    config = small_space(config, search, num_trials=20, num_startup_trials=2)
    process = Process(config, folder, tmp_path / "one")
    samples = [process.run(trial_id, 0.4) for trial_id in "abcde"]
    process.searcher.suggest("f")  # killed
    process = Process(config, folder, tmp_path / "two")
    samples += [process.run(trial_id, 0.4) for trial_id in "fgh"]
    assert process.searcher.suggest("i") == Searcher.FINISHED
    check_finished(config, folder, process.study)  # resumed or not
    assert is_search_over(config, Process(config, folder, tmp_path / "three").study)
    assert len({tuple(sorted(sample["parameters"].items())) for sample in samples}) == 8
    assert [sample["number"] for sample in samples] == list(range(8))
    assert all(
        (exemplars in sample["parameters"]) == (sample["parameters"][kind] == "exemplar")
        for sample in samples
    )


def test_floats_have_three_significant_digits(start: Callable[[], Process]) -> None:
    process = start()
    for trial_id in "abcd":  # the last ones are past num_startup_trials: TPE's own
        for value in process.run(trial_id, 0.4)["parameters"].values():
            assert value == float(f"{value:.3g}")


def test_starting_points_come_first_and_once(
    config: StudyConfig, folder: LocalStore, tmp_path: Path
) -> None:
    config = small_space(config, config.search, start=[{WEIGHT: 9.0}, {WEIGHT: 7.0}, {RATE: 1e-3}])
    Process(config, folder, tmp_path / "one").run("a", 0.4)
    Process(config, folder, tmp_path / "two").run("a", 0.4)
    process = Process(config, folder, tmp_path / "three")
    process.run("a", 0.4)
    process.searcher.suggest("b")
    first = [process.trial(number).params for number in range(4)]
    assert [parameters[WEIGHT] for parameters in first[:3]] == [7.0, 9.0, 7.0]
    assert first[2][RATE] == 1e-3
    assert first[3] not in first[:3]


@pytest.mark.parametrize(
    ("pruner", "last_step"), [("median", 2), ("asha", 2), ("hyperband", 2), ("none", 3)]
)
def test_a_hopeless_trial_is_stopped_by_the_pruner_that_was_chosen(
    config: StudyConfig, folder: LocalStore, tmp_path: Path, pruner: str, last_step: int
) -> None:
    config = small_space(config, config.search, pruner=pruner, num_trials=9)
    process = Process(config, folder, tmp_path / "scratch")
    for trial_id in "abcd":
        process.searcher.suggest(trial_id)
        for epoch in range(1, NUM_EPOCHS + 1):
            if process.epoch(trial_id, epoch, 0.4) == TrialScheduler.STOP:
                break
        else:
            process.searcher.on_trial_complete(trial_id, result=result_of(NUM_EPOCHS, 0.4))
    process.searcher.suggest("z")
    decisions = [process.epoch("z", epoch, 0.1) for epoch in range(1, last_step + 1)]
    goes_on = pruner == "none"
    end = TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP
    assert decisions == [TrialScheduler.CONTINUE] * (last_step - 1) + [end]


def with_budget(config: StudyConfig, budget: str) -> StudyConfig:
    study = config.study.model_copy(update={"budget": budget, "num_trials": 0})
    return config.model_copy(update={"study": study})


def test_a_spent_budget_ends_the_search_but_no_trial_that_has_begun(
    config: StudyConfig, folder: LocalStore, tmp_path: Path
) -> None:
    config = with_budget(config, "1h")
    process = Process(config, folder, tmp_path / "scratch")
    process.run("a", 0.4)
    process.now = 3599
    process.searcher.suggest("b")
    process.now = 3601
    assert process.searcher.suggest("c") is None
    assert not is_search_over(config, process.study)
    process.epoch("b", NUM_EPOCHS, 0.5)
    process.searcher.on_trial_complete("b", result=result_of(NUM_EPOCHS, 0.5))
    assert process.searcher.suggest("d") == Searcher.FINISHED
    check_finished(config, folder, process.study)


def test_the_cost_of_a_search_is_kept_by_the_next_process(
    config: StudyConfig, folder: LocalStore, tmp_path: Path
) -> None:
    config = with_budget(config, "1h")
    for number in range(2):
        process = Process(config, folder, tmp_path / f"scratch{number}")
        process.now = 1500
        process.run("a", 0.4)
        with pytest.raises(StudyInterruptedError, match=f"stopped after {number + 1} trials"):
            check_finished(config, folder, process.study)
    assert spent_on(folder).seconds == 3000
    process = Process(config, folder, tmp_path / "scratch2")
    process.now = 600
    assert process.searcher.suggest("a") == Searcher.FINISHED
    check_finished(config, folder, process.study)


def test_a_budget_does_not_lift_the_number_of_trials(
    config: StudyConfig, folder: LocalStore, tmp_path: Path
) -> None:
    study = config.study.model_copy(update={"budget": "1h"})
    config = config.model_copy(update={"study": study})
    process = Process(config, folder, tmp_path / "scratch")
    for trial_id in "abcd":
        process.run(trial_id, 0.4)
    assert process.searcher.suggest("e") == Searcher.FINISHED
    check_finished(config, folder, process.study)


def test_a_second_objective_is_told_to_the_sampler_and_stops_no_trial(
    config: StudyConfig, folder: LocalStore, tmp_path: Path
) -> None:
    config = small_space(config, config.search, minimise="seconds", num_trials=9)
    process = Process(config, folder, tmp_path / "one")
    for trial_id, score in zip("abcd", (0.4, 0.5, 0.1, 0.2), strict=True):
        process.run(trial_id, score)
    process = Process(config, folder, tmp_path / "two")
    process.run("e", 0.3)
    assert process.trial(2).values == pytest.approx([0.1, 30.0])
    assert process.trial(2).intermediate_values == {1: 0.1, 2: 0.1, 3: 0.1}
    assert process.searcher.best() == 0.5
    assert best_of(process.study).number == 1


def test_waiting_for_running_trials_writes_nothing(start: Callable[[], Process]) -> None:
    process = start()
    for trial_id in "abcd":
        process.searcher.suggest(trial_id)
    journal = process.scratch / JOURNAL
    size = journal.stat().st_size
    for second in range(100):  # Ray asks many times a second
        process.now = second
        assert process.searcher.suggest("e") is None
    assert journal.stat().st_size == size
