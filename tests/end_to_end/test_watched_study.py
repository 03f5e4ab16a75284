"""A study as Ray's dashboard and Prometheus show it: by name, with every panel's metrics."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import started
from tests.support.private_s3 import private_s3
from tests.support.prometheus import Prometheus, dashboards, program, scraping
from tests.support.ray_names import Shown, looking_at
from tune.search.metrics import STATES

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

STUDY = """
[study]
name = "small"
search_transfers = ["plaza->campus", "campus->plaza"]
holdout = "plaza->station"
num_trials = 2
concurrent_trials = 1
race_trials = 0
contender_seeds = 1

[search]
"optimiser.learning_rate" = [1e-3, 2e-3, 5e-3]
"""
TRANSFERS = ["plaza->campus", "campus->plaza"]
TRIALS = [f"trial-000{number}" for number in range(2)]
NUM_EPOCHS = 4
ONLY_ON_A_GPU = {"GPU"}
"""Panels without series here: Ray has these metrics only for hosts with a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What was seen of a study, and Prometheus, which is still there."""

    shown: Shown
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(
    tiny_root: Path, tiny_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    program("prometheus")
    scratch = tmp_path_factory.mktemp("watched")
    file = scratch / "study.toml"
    file.write_text(tiny_file.read_text() + STUDY)
    with private_s3(tiny_root, scratch=scratch) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        ray = server.ray / f"daam-{os.getuid()}" / "ray"
        (scratch / "prometheus").mkdir()
        with (
            scraping(ray, scratch=scratch / "prometheus") as prometheus,
            started(
                *("tune", "--config", str(file), *server.settings),
                *("--set", f"optimiser.num_epochs={NUM_EPOCHS}"),
                scratch=scratch / "command",
            ) as command,
        ):
            with looking_at(command) as shown:
                finished = command.finished(within_s=500)
            assert finished.code == 0, finished.err
            yield Watched(shown=shown, prometheus=prometheus)


def test_every_process_of_a_run_has_its_name_and_keeps_it(watched: Watched) -> None:
    runs = [f"{run} {transfer}" for run in TRIALS for transfer in TRANSFERS]
    runs += [f"{run} plaza->station" for run in ("source-only/seed-1", "default/seed-1")]
    named = [
        [title for title in titles if title.startswith("ray::small/")]
        for titles in watched.shown.titles.values()
    ]
    # A title that had come back later would be listed twice.
    assert set(runs) <= {title.removeprefix("ray::small/") for titles in named for title in titles}
    for titles in named:
        assert len(titles) == len(set(titles)), titles


def test_the_state_api_has_names_for_actors_slots_and_the_job(watched: Watched) -> None:
    shown = watched.shown
    assert shown.values("actors", "class_name") == {"Runs"}
    assert shown.values("actors", "repr_name") >= {
        "small/trial-0000 and later runs",
        "small/source-only/seed-1 and later runs",
    }
    slots = shown.values("placement_groups", "name")
    assert all(re.fullmatch(r"small/slot-[0-9a-f]{6}", slot) for slot in slots), slots
    (job,) = shown.state["jobs"].values()
    assert job["metadata"]["job_name"] == "tune small"
    assert job["metadata"]["transfers"] == "plaza->campus, campus->plaza, plaza->station"


@pytest.mark.parametrize("dashboard", dashboards())
def test_the_query_of_every_panel_has_series(watched: Watched, dashboard: str) -> None:
    without = set()
    for panel in dashboards()[dashboard]["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$study", "small").replace("$run", ".+")
            assert "$" not in query, query
            if not watched.prometheus.series(query):
                without.add(panel["title"])
    assert without == (ONLY_ON_A_GPU if dashboard == "fleet" else set())


def test_the_metrics_of_a_run_say_whose_they_are(watched: Watched) -> None:
    found = {
        (series["metric"]["run"], series["metric"]["transfer"]): series
        for series in watched.prometheus.series('ray_daam_run_epoch{study="small"}')
    }
    assert found.keys() >= {(run, transfer) for run in TRIALS for transfer in TRANSFERS}
    last = found["trial-0001", "campus->plaza"]
    assert last["values"][-1][1] == str(NUM_EPOCHS)
    assert last["metric"]["host"]
    (best,) = watched.prometheus.series('ray_daam_study_best_score{study="small"}')
    assert 0 < float(best["values"][-1][1]) <= 1


def test_the_states_of_all_runs_are_there_at_the_end(watched: Watched) -> None:
    states = {
        series["metric"]["run"]: float(series["values"][-1][1])
        for series in watched.prometheus.series('ray_daam_run_state{study="small"}')
    }
    assert states.keys() >= {*TRIALS, "source-only/seed-1"}
    assert states["trial-0000"] == STATES["COMPLETE"]


def test_the_rules_of_the_alerts_can_be_evaluated(watched: Watched) -> None:
    (group,) = watched.prometheus.get("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
