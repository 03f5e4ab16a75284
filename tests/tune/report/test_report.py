"""The four files of a finished study."""

import copy
import csv
import dataclasses
import io
import json
import tomllib
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

import daam
from daam.config.load import run_config, setting
from daam.storage import Store, open_store
from tests.support.studies import (
    COMMIT,
    SEARCH,
    SECONDS,
    VERSIONS,
    a_result,
    a_study,
    demo_states,
    some_scores,
    some_seeds,
)
from tune.contenders.final import DEFAULT, SOURCE_ONLY, TUNED
from tune.events import FAILURE
from tune.report.files import read_epochs, trials_csv, write_report
from tune.report.provenance import library_versions
from tune.study import StudyResult


@pytest.fixture(scope="module")
def result() -> StudyResult:
    return a_result(a_study(), demo_states())


@pytest.fixture(scope="module")
def folder(result: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The four files of a finished study, in a local folder."""
    store = open_store(str(tmp_path_factory.mktemp("study")))
    write(result, store)
    return store


def write(result: StudyResult, store: Store, *, name: str | None = None) -> None:
    versions = VERSIONS if name is None else {**VERSIONS, name: "1"}
    write_report(
        result,
        store,
        seconds=SECONDS,
        baseline=some_scores(0.118),
        versions=versions,
        commit=COMMIT,
    )


def text_of(store: Store, key: str) -> str:
    return store.read(key).decode()


class Elements(HTMLParser):
    """Every element of a page with its attributes, and its text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.silent = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.silent = self.silent and tag not in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.text += data


def test_a_study_folder_holds_the_four_files(folder: Store) -> None:
    assert folder.list() == ["best.toml", "report.html", "study.json", "trials.csv"]


def test_the_json_holds_every_trial_with_its_state_and_scores(
    result: StudyResult, folder: Store
) -> None:
    document = json.loads(folder.read("study.json"))
    assert document["schema_version"] == 2
    assert len(document["trials"]) == len(result.trials)
    for row, trial in zip(document["trials"], result.trials, strict=True):
        assert row["number"] == trial.number
        assert row["name"] == f"trial-{trial.number:04d}"
        assert row["state"] == trial.state.name
        assert row["parameters"] == trial.params
        assert row["score_by_epoch"] == {
            str(epoch): score for epoch, score in trial.intermediate_values.items()
        }
        assert row["scores"] == trial.user_attrs.get("scores")
        assert row["seconds"] == pytest.approx((trial.duration or timedelta()).total_seconds())
        assert datetime.fromisoformat(row["start"]).tzinfo is not None


def test_only_a_complete_trial_has_a_score(result: StudyResult, folder: Store) -> None:
    trials = json.loads(folder.read("study.json"))["trials"]
    with_score = {row["number"] for row in trials if row["score"] is not None}
    assert with_score == {
        trial.number for trial in result.trials if trial.state == TrialState.COMPLETE
    }


def test_the_json_says_what_was_run_and_what_came_of_it(result: StudyResult, folder: Store) -> None:
    document = json.loads(folder.read("study.json"))
    assert document["name"] == "demo"
    assert document["settings"]["search"] == SEARCH
    assert run_config(document["settings"]["run"]) == result.config.run
    assert document["best"]["trial"] == result.best_trial
    assert run_config(document["best"]["config"]) == result.best
    assert document["holdout"]["transfer"] == "plaza->station"
    contenders = document["holdout"]["contenders"]
    assert {name: row["scores"] for name, row in contenders.items()} == {
        name: {str(seed): scores for seed, scores in some_seeds(mean).items()}
        for name, mean in ((SOURCE_ONLY, 0.341), (DEFAULT, 0.527), (TUNED, 0.584))
    }
    gain = document["holdout"]["comparison"]["gains"][DEFAULT]
    assert (gain["num_above"], gain["num_pairs"]) == (3, 3)
    assert gain["mean"] == pytest.approx(0.057)
    assert document["holdout"]["colour_histogram"] == some_scores(0.118)
    assert document["seconds"] == SECONDS
    assert document["versions"] == VERSIONS
    assert document["git"] == {"sha": COMMIT.sha, "dirty": True}


def test_the_best_settings_come_back_from_toml(result: StudyResult, folder: Store) -> None:
    text = text_of(folder, "best.toml")
    assert run_config(tomllib.loads(text)) == result.best
    score = result.trials[result.best_trial].value
    assert f"trial-{result.best_trial:04d}, with a score of {score:.4f}" in text.splitlines()[0]


def test_the_csv_comes_back_with_a_row_for_each_trial(result: StudyResult, folder: Store) -> None:
    rows = list(csv.DictReader(io.StringIO(text_of(folder, "trials.csv"), newline="")))
    assert len(rows) == len(result.trials)
    for row, trial in zip(rows, result.trials, strict=True):
        assert int(row["number"]) == trial.number
        assert row["state"] == trial.state.name
        complete = trial.state == TrialState.COMPLETE
        assert row["score"] == (str(trial.value) if complete else "")
        assert int(row["num_epochs"]) == max(trial.intermediate_values, default=0)
        assert bool(row["reason"]) == (trial.state in (TrialState.PRUNED, TrialState.FAIL))
        assert {path: float(row[path]) for path in SEARCH} == trial.params
        scores = trial.user_attrs.get("scores", {})
        for transfer in result.config.study.search_transfers:
            assert row[f"score/{transfer}"] == str(scores.get(transfer, ""))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_in_the_csv_is_no_formula(result: StudyResult, start: str) -> None:
    reason = f"{start}HYPERLINK(1)"
    trials = copy.deepcopy(result.trials)
    failed = next(trial for trial in trials if trial.state == TrialState.FAIL)
    failed.user_attrs[FAILURE] = reason
    failed.params[next(iter(SEARCH))] = -0.5
    text = trials_csv(dataclasses.replace(result, trials=trials))
    row = list(csv.DictReader(io.StringIO(text, newline="")))[failed.number]
    assert row["reason"] == f"'{reason}"
    assert row[next(iter(SEARCH))] == "-0.5"  # a number stays one


def test_the_page_loads_nothing(folder: Store) -> None:
    page = Elements(text_of(folder, "report.html"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "audio", "video"}
    for tag, attributes in page.elements:
        assert not attributes.keys() & {"src", "href", "srcset", "action"}, (tag, attributes)
    policies = [
        attributes["content"]
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies
    assert (policies[0] or "").startswith("default-src 'none'")
    assert "http" not in (policies[0] or "")


def test_the_page_names_no_address_outside_it(folder: Store) -> None:
    text = text_of(folder, "report.html")
    assert "http://" not in text
    assert "https://" not in text


def test_the_page_is_small(folder: Store) -> None:
    assert folder.size("report.html") < 100_000


def test_the_page_shows_the_comparison_first_and_every_chart(folder: Store) -> None:
    page = Elements(text_of(folder, "report.html"))
    charts = [
        attributes["aria-label"]
        for tag, attributes in page.elements
        if tag == "svg" and "aria-label" in attributes
    ]
    assert charts == [
        "mAP",
        "Score of each trial",
        "Learning curves",
        "When the trials ran",
        "Which settings mattered",
        *("domain_similarity.weight", "target.weight", "target.temperature"),
        *("attention.initial_bias", "attention.reduction", "optimiser.learning_rate"),
    ]
    order = [
        page.text.index(heading)
        for heading in (
            *("Final comparison", "Best settings", "The search", "What it cost"),
            *("Pruned and failed trials", "All trials"),
        )
    ]
    assert order == sorted(order)
    for fact in ("7 complete, 4 pruned, 1 failed", "5 min 16 s", "0123456789ab, with changes"):
        assert fact in page.text


def test_text_is_escaped(result: StudyResult, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    write(result, store, name="<script>alert(1)</script>")
    text = text_of(store, "report.html")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 1" in text


def test_one_complete_trial_is_enough_for_a_report(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    write(a_result(a_study(num_trials=1), [TrialState.COMPLETE]), store)
    text = text_of(store, "report.html")
    assert "at least 4 complete trials" in text
    assert len(json.loads(store.read("study.json"))["trials"]) == 1


def test_trials_without_an_end_or_transfer_scores_are_shown(tmp_path: Path) -> None:
    result = a_result(a_study(), [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.RUNNING])
    for trial in result.trials:
        trial.user_attrs.clear()
    store = open_store(str(tmp_path))
    write(result, store)
    trials = json.loads(store.read("study.json"))["trials"]
    assert [row["scores"] for row in trials] == [None] * 3
    assert (trials[2]["state"], trials[2]["end"], trials[2]["seconds"]) == ("RUNNING", None, None)
    assert "running" in Elements(text_of(store, "report.html")).text


def test_default_settings_that_win_are_named_so(tmp_path: Path) -> None:
    config = a_study()
    result = a_result(config, [TrialState.COMPLETE, TrialState.COMPLETE])
    result.trials[1].params = {path: setting(config.run, path) for path in SEARCH}
    result.trials[1].value = 0.99
    store = open_store(str(tmp_path))
    write(result, store)
    assert "They are the default settings" in text_of(store, "report.html")


def test_versions_are_of_the_libraries_installed() -> None:
    versions = library_versions()
    assert versions["daam"] == daam.__version__
    assert versions["numpy"] == np.__version__
    assert versions["optuna"] == optuna.__version__
    assert {"python", "ray", "torch", "torchvision", "pyarrow"} <= versions.keys()


def test_damaged_metrics_of_a_run_stop_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daam.runs.run_folder.REWRITTEN_WITHIN_S", 0)
    store = open_store(str(tmp_path))
    row = {"epoch": 1, "num_epochs": 2, "seconds": 2.0}
    store.write("trials/trial-0000/a-b/reports.json", json.dumps([row]).encode())
    store.write("trials/trial-0001/a-b/reports.json", b'[{"epo')
    assert read_epochs(store) == {
        "trials/trial-0000/a-b": [row],
        "trials/trial-0001/a-b": [],
    }
