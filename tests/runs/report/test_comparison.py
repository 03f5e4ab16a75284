"""Several runs beside each other."""

import json
import re
from pathlib import Path

import pytest

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.runs.report.comparison import compare_runs, comparison_page
from daam.runs.results import RESULTS
from daam.runs.run_folder import REPORTS, SCORES, start_run
from daam.storage import Store
from tests.support.commands import Launch
from tests.support.results import ASSESSED
from tests.support.results import SCORES as SCORED


def a_run(folder: Path, config: RunConfig, *, num_epochs: int, **metrics: float) -> Store:
    run = start_run(str(folder), config)
    rows = [
        {"epoch": epoch, "num_epochs": 2, "seconds": 2.0, "loss/identity": 6.0 / epoch, **metrics}
        for epoch in range(1, num_epochs + 1)
    ]
    run.write(REPORTS, json.dumps(rows).encode())
    return run


@pytest.fixture
def runs(tmp_path: Path, tiny_config: RunConfig) -> list[Store]:
    slow = with_settings(
        tiny_config, {"optimiser.learning_rate": 1e-5, "data.cache": str(tmp_path)}
    )
    grouped = {"diagnostic/num_groups": 7, "label_free/self_retrieval": 0.75}
    first = a_run(tmp_path / "a", tiny_config, num_epochs=2, **grouped)
    second = a_run(tmp_path / "b", slow, num_epochs=1)
    first.write(SCORES, json.dumps(SCORED).encode())
    for kind, document in (("scores", SCORED), ("assessment", ASSESSED)):
        second.write(f"{RESULTS}/station.{kind}.json", json.dumps(document).encode())
    return [first, second]


def test_settings_are_compared_where_they_differ_and_can_matter(runs: list[Store]) -> None:
    found = compare_runs(runs)
    assert list(found.settings) == ["optimiser.learning_rate"]
    assert found.settings["optimiser.learning_rate"][1] == 1e-5


def test_figures_are_those_of_the_last_epoch_and_of_every_evaluation(runs: list[Store]) -> None:
    assert compare_runs(runs).figures == {
        "epochs": ("2 of 2", "1 of 2"),
        "time": ("4 s", "2 s"),
        "loss identity": (3.0, 6.0),
        "groups": (7, None),
        "self retrieval, without labels": (0.75, None),
        "mAP on campus": (0.5321, None),
        "rank-1 on campus": (0.61, None),
        "ranking score on station, without labels": (None, 0.625),
        "mAP on station, estimated without labels": (None, "0.375 (0.250 to 0.500)"),
        "mAP on station": (None, 0.5321),
        "rank-1 on station": (None, 0.61),
    }


def test_runs_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, tiny_config: RunConfig
) -> None:
    runs = [a_run(tmp_path / name / "run", tiny_config, num_epochs=1) for name in "ab"]
    assert compare_runs(runs).names == (str(tmp_path / "a/run"), str(tmp_path / "b/run"))


def test_a_run_has_one_colour_in_all_charts(runs: list[Store]) -> None:
    page = comparison_page(compare_runs(list(reversed(runs))))
    of_run = set(re.findall(r"series-(\d)[^>]*/></svg>(\w)</span>", page))
    assert of_run == {("1", "b"), ("2", "a")}
    groups = page.partition("diagnostic/num_groups")[2].partition("</figure>")[0]
    assert "var(--series-2)" in groups
    assert "var(--series-1)" not in groups


def test_the_command_prints_a_table_and_writes_the_page(
    command: Launch, runs: list[Store], tmp_path: Path
) -> None:
    uris = [run.uri for run in runs]
    done = command("compare", *uris, "--to", str(tmp_path / "pages" / "c.html"))
    assert done.code == 0
    assert re.search(r"loss identity\W+3\W+6\b", done.out)
    assert "optimiser.learning_rate" in done.out
    assert "2 runs compared" in (tmp_path / "pages" / "c.html").read_text()
    done = command("compare", *uris, "--json")
    assert json.loads(done.out)["figures"]["loss identity"] == [3.0, 6.0]


def test_one_run_or_a_page_that_is_no_html_is_refused(command: Launch, runs: list[Store]) -> None:
    assert "at least two runs" in command("compare", runs[0].uri).err
    done = command("compare", *(run.uri for run in runs), "--to", "page.pdf")
    assert done.code == 2
    assert "end in .html" in done.err
    done = command("compare", runs[0].uri, f"{runs[0].uri}-not-there")
    assert done.code == 2
    assert "holds no checkpoint" in done.err
