"""report.html of a run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.errors import CheckpointError
from daam.runs.report.learning_curves import curves_section, gradient_shares, lines
from daam.runs.report.page import next_commands, ranges, report_page, write_report
from daam.runs.results import record_result
from daam.runs.run_folder import REPORTS, start_run
from daam.storage import Store, open_store

PNG = b"\x89PNG\r\n\x1a\n and so on"
VOID = {"meta", "img"}


def a_row(epoch: int, **more: Any) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "num_epochs": 4,
        "seconds": 61.0,
        "seconds/steps": 50.0,
        "loss/total": 9.0 / epoch,
        "loss/identity": 6.0 / epoch,
        "diagnostic/gradient_identity": 3.0,
        "diagnostic/gradient_target": 1.0,
        "diagnostic/num_groups": 7 + epoch,
        "diagnostic/outlier_share": 0.25,
        "diagnostic/silhouette": 0.125,
        "diagnostic/probe_shared": 0.75,
        **more,
    }


class Tags(HTMLParser):
    """Checks that what is opened is closed, and keeps the addresses that are referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


@pytest.fixture
def run(store: Store, tiny_config: RunConfig) -> Store:
    """A run of three epochs, in a store of each kind."""
    config = with_settings(tiny_config, {"optimiser.num_epochs": 4})
    folder = start_run(store.child("a<b").uri if "://" not in store.uri else store.uri, config)
    rows = [a_row(1), a_row(2, warnings=["no <group>"]), a_row(3, warnings=["no <group>"])]
    folder.write(REPORTS, json.dumps(rows).encode())
    return folder


def test_a_report_is_one_file_that_fetches_nothing(run: Store, tmp_path: Path) -> None:
    picture = tmp_path / "projection.png"
    picture.write_bytes(PNG)
    scores = {"mean_average_precision": 0.5, "mean_inp": 0.25, "cmc": {"1": 0.75, "5": 0.875}}
    record_result(
        run,
        domain="campus",
        kind="scores",
        document=scores | {"num_queries": 9, "num_left_out": 1},
        pictures=[picture],
    )
    page = run.read("report.html").decode()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.addresses) == 1
    assert tags.addresses[0].startswith("data:image/png;base64,")
    assert "http" not in page.replace("http-equiv", "")
    assert "Labelled test on campus: mAP 0.500, rank-1 0.750 over 8 queries" in page
    assert "prefers-color-scheme: dark" in page


def test_a_report_says_where_the_run_stands(run: Store) -> None:
    page = report_page(run)
    assert "plaza → campus: 3 of 4 epochs" in page
    assert "3 min 03 s" in page
    assert "10 in the last epoch, 25% of the images in none, silhouette 0.12" in page
    assert "no &lt;group&gt; <span class='faint'>(epoch 2 to 3)</span>" in page
    assert "<group>" not in page
    changed = page.partition("differ from the defaults")[2].partition("All settings")[0]
    assert "<code>optimiser.num_epochs</code></td><td>50</td><td>4</td>" in changed
    assert "optimiser.schedule" not in changed
    assert "daam train --resume" in page


def test_a_report_of_a_run_without_epochs_has_no_curves(
    tmp_path: Path, tiny_config: RunConfig
) -> None:
    folder = start_run(str(tmp_path / "new"), tiny_config)
    write_report(folder)
    page = (tmp_path / "new" / "report.html").read_text()
    assert "0 of 2 epochs" in page
    assert "<polyline" not in page
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        write_report(open_store(str(tmp_path / "nothing")))


def test_a_folder_that_may_not_be_written_fails_nothing(
    tmp_path: Path, tiny_config: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    folder = start_run(str(tmp_path / "run"), tiny_config)
    (tmp_path / "run" / "report.html").mkdir()
    write_report(folder)
    assert "report is not up to date" in caplog.text


def test_next_commands_name_the_run_and_its_target() -> None:
    found = dict(next_commands("runs/my run", target="mine", is_finished=True))
    assert all(command.startswith("daam ") for command in found.values())
    assert all("'runs/my run'" in command for command in found.values())
    assert "--resume" not in " ".join(found.values())


@pytest.mark.parametrize(
    ("numbers", "text"), [([3], "3"), ([1, 2, 3], "1 to 3"), ([1, 3, 4, 9], "1, 3 to 4, 9")]
)
def test_epochs_in_a_row_are_a_range(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


def test_shares_of_the_gradient_are_percentages_of_the_sum() -> None:
    shares = gradient_shares(a_row(1))
    assert shares == {"diagnostic/gradient_identity": 75, "diagnostic/gradient_target": 25}
    assert gradient_shares({"diagnostic/gradient_identity": 0.0}) == {}


def test_lines_are_the_metrics_of_a_family_over_the_epochs() -> None:
    rows = [a_row(1), a_row(2)]
    assert lines(rows, "loss/", skip=("total",)) == {"identity": [(1, 6.0), (2, 3.0)]}
    assert lines(rows, "diagnostic/num_groups") == {"num_groups": [(1, 8), (2, 9)]}


def test_every_family_of_metrics_has_a_chart() -> None:
    section = curves_section([a_row(1, mAP=0.5, **{"label_free/self_retrieval": 0.5})])
    assert re.findall(r"<h3>([^<]+)", section) == [
        "Losses",
        "Share of the gradient",
        "Groups",
        "Silhouette and outliers",
        "Domain probe",
        "Without labels",
        "Validation",
    ]
