"""A whole study through `launch.py tune`: killed, resumed, stopped, resumed with more trials."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import time
import tomllib
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from daam.config.load import read_toml, run_config
from daam.runs.run_folder import read_reports, trained
from daam.storage import open_store
from tests.support.commands import Command, Finished, Launch, processes_of, ran, started
from tests.support.pages import ROOT, blocks
from tune.contenders.final import DEFAULT, SOURCE_ONLY, TUNED
from tune.folder.folder import open_study, read_folder
from tune.settings import study_config

# The story takes three starts of Ray: a busy machine needs patience.
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

NUM_TRIALS, NUM_EPOCHS, NUM_SEEDS = 5, 6, 2
WEIGHT, RATE = "loss.domain_similarity.weight", "optimiser.learning_rate"
STUDY = f"""
[study]
name = "small"
search_transfers = ["plaza->campus", "campus->plaza"]
holdout = "plaza->station"
num_trials = {NUM_TRIALS - 1}
concurrent_trials = 2
num_startup_trials = {NUM_TRIALS}
race_trials = 2
race_seeds = {NUM_SEEDS}
contender_seeds = {NUM_SEEDS}

[search]
"{WEIGHT}" = {{ low = 0.5, high = 50.0, log = true }}
"{RATE}" = {{ low = 1e-4, high = 1e-2, log = true }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A study that was killed, then stopped by SIGTERM, then went on; what was seen each time."""

    folder: Path
    at_kill: list[FrozenTrial]
    reports_at_kill: dict[str, bytes]
    orphans: list[int]
    stopped: Finished
    at_stop: list[FrozenTrial]
    finished: Finished


@pytest.fixture(scope="module")
def story(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story; each scene is a process of its own."""
    scratch = tmp_path_factory.mktemp("study")
    folder = scratch / "runs" / "small"
    file = scratch / "study.toml"
    file.write_text(tiny_file.read_text() + STUDY)
    first_scene = [
        *("tune", "--config", str(file), "--storage", str(scratch / "runs")),
        *("--set", f"optimiser.num_epochs={NUM_EPOCHS}"),
    ]
    with started(*first_scene, scratch=scratch / "first") as command:
        command.until(lambda: "COMPLETE" in command.out and unfinished_epochs(command))
        os.kill(command.process.pid, signal.SIGKILL)
        command.process.wait()
        at_kill = trials_of(folder, scratch / "at-kill")
        reports_at_kill = {
            name: (folder / "trials" / name / "plaza-campus" / "reports.json").read_bytes()
            for name in (
                f"trial-{trial.number:04d}" for trial in at_kill if trial.state.is_finished()
            )
        }
        # Processes of the dead driver may still run while the next one starts.
        with started("tune", "--resume", str(folder), scratch=scratch / "second") as again:
            again.until(lambda: unfinished_epochs(again))
            os.killpg(again.process.pid, signal.SIGTERM)
            stopped = again.finished(within_s=60)
        orphans = left_after(command.process.pid, patience_s=60)
    at_stop = trials_of(folder, scratch / "at-stop")
    more = ("--trials", str(NUM_TRIALS))
    finished = ran("tune", "--resume", str(folder), *more, scratch=scratch / "third")
    return Story(
        folder=folder,
        at_kill=at_kill,
        reports_at_kill=reports_at_kill,
        orphans=orphans,
        stopped=stopped,
        at_stop=at_stop,
        finished=finished,
    )


def left_after(session: int, *, patience_s: float) -> list[int]:
    """The processes of a session that do not end by themselves."""
    deadline = time.monotonic() + patience_s
    while processes_of(session) and time.monotonic() < deadline:
        time.sleep(0.1)
    return processes_of(session)


def unfinished_epochs(command: Command) -> bool:
    """Whether the newest line says that a trial is in its middle."""
    lines = re.findall(rf"trial-\d+ epoch (\d+)/{2 * NUM_EPOCHS}", command.out)
    return bool(lines) and int(lines[-1]) in range(2, 2 * NUM_EPOCHS - 1)


def trials_of(folder: Path, scratch: Path) -> list[FrozenTrial]:
    """What the study's folder knows of its trials."""
    scratch.mkdir()
    store, tree = read_folder(str(folder))
    study, _ = open_study(store, study_config(tree, {}), scratch=scratch)
    return study.get_trials()


def test_the_study_was_killed_and_stopped_with_some_trials_finished_and_some_running(
    story: Story,
) -> None:
    states = [[trial.state for trial in trials] for trials in (story.at_kill, story.at_stop)]
    for seen in states:
        assert TrialState.COMPLETE in seen
        assert TrialState.RUNNING in seen


def test_sigterm_ends_cleanly_and_says_how_to_resume(story: Story) -> None:
    assert story.stopped.code == 143, story.stopped.err
    last = story.stopped.err.strip().splitlines()[-1]
    assert last.startswith("daam: the study was stopped")  # and on a busy machine no more
    assert last.endswith(f"resume with: python launch.py tune --resume {story.folder}")
    assert "Traceback" not in story.stopped.err


def test_a_killed_driver_leaves_no_process_behind(story: Story) -> None:
    assert story.orphans == []


def test_resuming_finishes_every_trial_and_those_that_were_added(story: Story) -> None:
    assert story.finished.code == 0, story.finished.err
    assert "[I " not in story.finished.err  # Optuna's news
    document = json.loads((story.folder / "study.json").read_text())
    assert [trial["number"] for trial in document["trials"]] == list(range(NUM_TRIALS))
    assert {trial["state"] for trial in document["trials"]} == {"COMPLETE"}
    num_source = document["settings"]["run"]["loss"]["warmup_epochs"]
    for trial in document["trials"]:
        assert list(trial["score_by_epoch"]) == [
            str(transfer * NUM_EPOCHS + epoch)
            for transfer in range(2)
            for epoch in range(num_source + 1, NUM_EPOCHS + 1)
        ]


def test_finished_trials_are_not_run_again(story: Story, tmp_path: Path) -> None:
    at_end = trials_of(story.folder, tmp_path / "at-end")
    for earlier in (story.at_kill, story.at_stop):
        finished = [trial for trial in earlier if trial.state.is_finished()]
        assert finished
        for trial in finished:
            assert at_end[trial.number] == trial
    for name, content in story.reports_at_kill.items():
        assert (story.folder / f"trials/{name}/plaza-campus/reports.json").read_bytes() == content


def test_interrupted_trials_keep_their_number_and_parameters(story: Story, tmp_path: Path) -> None:
    at_end = trials_of(story.folder, tmp_path / "at-end")
    for trial in (*story.at_kill, *story.at_stop):
        if trial.state == TrialState.RUNNING:
            assert at_end[trial.number].params == trial.params
            assert at_end[trial.number].datetime_start == trial.datetime_start
            for epoch, score in trial.intermediate_values.items():
                assert at_end[trial.number].intermediate_values[epoch] == score


def test_every_epoch_is_reported_once(story: Story) -> None:
    for trial in range(NUM_TRIALS):
        for transfer in ("plaza-campus", "campus-plaza"):
            reports = read_reports(
                open_store(f"{story.folder}/trials/trial-{trial:04d}/{transfer}")
            )
            assert [row["epoch"] for row in reports] == list(range(1, NUM_EPOCHS + 1))


def test_the_checkpoints_of_the_search_are_gone_and_those_of_the_holdout_stay(
    story: Story,
) -> None:
    assert not [*(story.folder / "trials").rglob("*.pt"), *(story.folder / "race").rglob("*.pt")]
    runs = sorted((story.folder / "holdout").glob("*/seed-*"))
    assert len(runs) >= 2 * NUM_SEEDS  # tuned is not trained where the default settings won
    for run in runs:
        assert trained(str(run))[1]["num_epochs_done"] == NUM_EPOCHS


def test_the_three_contenders_were_tested_on_the_holdout(story: Story) -> None:
    holdout = json.loads((story.folder / "study.json").read_text())["holdout"]
    assert list(holdout["contenders"]) == [SOURCE_ONLY, DEFAULT, TUNED]
    tests = [holdout["colour_histogram"]]
    for contender in holdout["contenders"].values():
        assert list(contender["scores"]) == ["1", "2"]
        tests += contender["scores"].values()
    for scores in tests:
        assert 0 < scores["mean_average_precision"] <= 1
        assert scores["num_queries"] == 12
    gain = holdout["comparison"]["gains"][DEFAULT]
    assert gain["num_pairs"] == NUM_SEEDS
    if holdout["contenders"][TUNED]["same_as"] is None:
        assert gain["low"] < gain["mean"] < gain["high"]
    for name in (SOURCE_ONLY, DEFAULT, TUNED, "colour histogram"):
        assert name in story.finished.out


def test_the_first_trial_had_the_default_settings(story: Story) -> None:
    document = json.loads((story.folder / "study.json").read_text())
    run = run_config(document["settings"]["run"])
    assert document["trials"][0]["parameters"] == {
        WEIGHT: run.loss.domain_similarity.weight,
        RATE: run.optimiser.learning_rate,
    }


def test_the_best_settings_are_those_of_the_best_trial_and_can_be_trained(story: Story) -> None:
    document = json.loads((story.folder / "study.json").read_text())
    best = run_config(read_toml(story.folder / "best.toml"))
    assert best.transfer == "plaza->station"
    trial = document["trials"][document["race"]["winner"]]
    assert document["best"]["trial"] == trial["number"]
    assert best.loss.domain_similarity.weight == trial["parameters"][WEIGHT]
    assert best.optimiser.learning_rate == trial["parameters"][RATE]


def test_the_best_trials_were_repeated_with_another_seed(story: Story) -> None:
    document = json.loads((story.folder / "study.json").read_text())
    race = document["race"]
    best = sorted(document["trials"], key=lambda trial: (-trial["score"], trial["number"]))[:2]
    assert set(race["scores"]) == {str(trial["number"]) for trial in best}
    for trial in best:
        by_seed = race["scores"][str(trial["number"])]
        assert by_seed["1"] == trial["scores"]
        again = open_store(f"{story.folder}/race/{trial['name']}-seed-2/plaza-campus")
        assert read_reports(again)[-1]["mAP"] == by_seed["2"]["plaza->campus"]
    means = {trial: race["means"][trial] for trial in race["means"]}
    left = means.keys() - {str(dropout["trial"]) for dropout in race["dropouts"]}
    assert str(race["winner"]) == max(sorted(left), key=lambda trial: means[trial])


def test_the_command_of_the_report_trains_with_the_best_settings(
    story: Story, command: Launch, tmp_path: Path
) -> None:
    page = (story.folder / "report.html").read_text()
    (block,) = re.findall(r"<h3>Train with them</h3><pre>(.+?)</pre>", page, re.DOTALL)
    name, *arguments = shlex.split(unescape(block), comments=True)
    assert name == "daam"
    assert command(*arguments, "--storage", str(tmp_path)).code == 0
    settings, state = trained(f"{tmp_path}/best")
    best = run_config(read_toml(story.folder / "best.toml"))
    assert settings.optimiser.learning_rate == best.optimiser.learning_rate
    assert state["num_epochs_done"] == NUM_EPOCHS


def test_the_table_and_the_page_are_there(story: Story) -> None:
    rows = list(csv.DictReader(io.StringIO((story.folder / "trials.csv").read_text())))
    assert [row["number"] for row in rows] == [str(number) for number in range(NUM_TRIALS)]
    page = (story.folder / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "station" in page
    for name in (SOURCE_ONLY, DEFAULT, TUNED):
        assert name in page


def test_the_example_of_the_guide_reads_the_results(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = (
        block for block in blocks(ROOT / "docs/guides/tune.md") if block.language == "python"
    )
    exec(example.text.replace("runs/small", str(story.folder)), {})  # noqa: S102  (our own page)
    out = capsys.readouterr().out
    for name in ("trial-0000 COMPLETE", SOURCE_ONLY, DEFAULT, TUNED):
        assert name in out


def test_without_a_terminal_it_prints_plain_lines(story: Story) -> None:
    assert "\x1b" not in story.finished.out + story.stopped.out
    lines = story.finished.out.splitlines()
    assert lines[0] == f"Study {story.folder}"
    assert lines[1].startswith("Ray dashboard: http://127.0.0.1:")
    assert any(re.fullmatch(rf"[\d:]+ search: {NUM_TRIALS} runs, \d done before", x) for x in lines)
    assert any(re.match(r"[\d:]+ trial-\d{4} COMPLETE score [\d.]+; \d of ", x) for x in lines)
    for name in ("study.json", "best.toml", "trials.csv", "report.html"):
        assert f"  {story.folder}/{name}" in lines


def test_a_finished_study_starts_no_cluster_and_only_rewrites_its_report(
    story: Story, command: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started"))
    before = json.loads((story.folder / "study.json").read_text())
    times = {path: path.stat().st_mtime_ns for path in story.folder.rglob("*.*")}
    (story.folder / "report.html").unlink()
    assert command("tune", "--resume", str(story.folder)).code == 0
    after = json.loads((story.folder / "study.json").read_text())
    for part in ("settings", "trials", "best", "holdout"):
        assert after[part] == before[part]
    changed = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed <= {"study.json", "best.toml", "trials.csv", "report.html"}
    assert "report.html" in changed


def test_a_finished_study_whose_file_was_edited_goes_on_with_what_still_fits(
    story: Story, tmp_path: Path, command: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ray(**_: object) -> None:
        raise Exception("there is work to do")  # noqa: TRY002  (as Ray)

    monkeypatch.setattr("ray.init", no_ray)
    folder = tmp_path / "copy"
    shutil.copytree(story.folder, folder)
    assert command("tune", "--resume", str(folder), "--budget", "1s").code == 0  # long spent
    file = folder / "study.toml"
    assert tomllib.loads(file.read_text())["study"]["budget"] == "1s"

    more = command("tune", "--resume", str(folder), "--budget", "+1h")
    assert "there is work to do" in more.err
    assert "Set aside" not in more.out

    text = file.read_text()
    assert f"num_epochs = {NUM_EPOCHS}" in text
    file.write_text(text.replace(f"num_epochs = {NUM_EPOCHS}", f"num_epochs = {NUM_EPOCHS + 1}"))
    edited = command("tune", "--resume", str(folder))
    assert "there is work to do" in edited.err
    numbers = ", ".join(map(str, range(NUM_TRIALS)))
    assert f"Set aside: trials {numbers}: optimiser.num_epochs was {NUM_EPOCHS}" in edited.out
    assert {trial.state for trial in trials_of(folder, tmp_path / "read")} == {TrialState.FAIL}


def test_the_settings_it_went_on_with_are_in_its_folder(story: Story) -> None:
    tree = tomllib.loads((story.folder / "study.toml").read_text())
    assert tree["study"]["num_trials"] == NUM_TRIALS
    assert tree["optimiser"]["num_epochs"] == NUM_EPOCHS
    assert (
        optuna.distributions.FloatDistribution(0.5, 50.0, log=True)
        == study_config(tree, {}).distributions()[WEIGHT]
    )
