"""`daam dashboard` as a process: the report in a browser, and optuna-dashboard beside it."""

import json
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import urllib3

from daam.commands.web.local_page import Request
from daam.commands.web.study_routes import optuna_of, study_routes
from daam.errors import StudyError
from daam.storage import Store, open_store
from tests.support.chromium import Chromium
from tests.support.commands import Command, Launch, started, started_python
from tests.support.studies import a_record, a_study
from tune.folder.folder import open_study, write_settings
from tune.folder.journal import PublishedJournal
from tune.report.page import report_page

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """The folder of a study with a complete trial and a running one."""
    config = a_study()
    folder = open_store(str(tmp_path / "runs" / "demo"))
    (tmp_path / "scratch").mkdir()
    study, publish = open_study(folder, config, scratch=tmp_path / "scratch")
    for score in (0.25, None):
        trial = study.ask(config.distributions())
        if score is not None:
            transfers = config.study.search_transfers
            trial.set_user_attr("scores", dict.fromkeys(transfers, score))
            study.tell(trial, score)
    publish()
    return folder


def test_the_report_of_a_running_study_is_served_and_renews_itself(
    folder: Store, tmp_path: Path
) -> None:
    folder.write("report.html", report_page(a_record(running=True)).encode())
    with (
        shown(folder, scratch=tmp_path / "command") as (address, _),
        Chromium(tmp_path / "browser") as browser,
    ):
        browser.open(address)
        text = browser.run("document.body.innerText")
        assert "Running, search" in text
        assert "host 10.77.0.11 lost, restart 1 of 3, continues from epoch 2" in text
        assert "trial-0007 epoch 3/12 score 0.250" in text
        folder.write("report.html", report_page(a_record()).encode())
        deadline = time.monotonic() + 60
        while "Running, search" in text:
            assert time.monotonic() < deadline, "the page was not loaded again"
            time.sleep(0.2)
            with suppress(AssertionError):  # between two pages
                text = browser.run("document.body.innerText")
        for width in (500, 1280):
            browser.resize(width=width, height=900)
            assert browser.run("document.documentElement.scrollWidth") <= width
        browser.run("document.querySelector('a[href=\"application/\"]').click()")
        browser.wait("document.title === 'Optuna Dashboard'")


def test_the_page_of_a_study_on_s3_is_that_of_its_folder(
    folder: Store, s3_uri: str, tmp_path: Path
) -> None:
    on_s3 = open_store(s3_uri)
    for key in ("study.toml", "journal.log"):
        on_s3.write(key, folder.read(key))
    with shown(on_s3, scratch=tmp_path / "command") as (address, _):
        assert b"has no report yet" in asked(address).data
        on_s3.write("report.html", b"<main>first</main>")
        assert b"first" in asked(address).data
        on_s3.write("report.html", b"<main>second</main>")
        assert b"second" in asked(address).data


def test_nobody_without_the_address_is_shown_anything(folder: Store, tmp_path: Path) -> None:
    folder.write("report.html", b"<main>secret</main>")
    with shown(folder, scratch=tmp_path / "command") as (address, _):
        server = "/".join(address.split("/")[:3])
        for path in ("/", "/dashboard", "/api/studies", "/guess/", "/guess/application/"):
            refused = asked(f"{server}{path}")
            assert (refused.status, b"secret" in refused.data) == (403, False), path


def test_optuna_dashboard_shows_the_trials_of_a_study_and_changes_nothing(
    folder: Store, tmp_path: Path
) -> None:
    journal = folder.read("journal.log")
    with shown(folder, scratch=tmp_path / "command") as (address, command):
        entered = asked(f"{address}application/")
        cookie = {"Cookie": entered.headers["Set-Cookie"].partition(";")[0]}
        server = "/".join(address.split("/")[:3])
        (study,) = answer(f"{server}/api/studies", headers=cookie)["study_summaries"]
        assert study["study_name"] == "demo"
        own = f"{server}/api/studies/{study['study_id']}"
        trials = answer(f"{own}?after=0", headers=cookie)["trials"]
        assert [(trial["state"], trial.get("values")) for trial in trials] == [
            ("Complete", [0.25]),
            ("Running", None),
        ]
        assert b"Optuna Dashboard" in asked(f"{server}/dashboard", headers=cookie).data
        assert asked(own, method="DELETE", headers=cookie).status == 501
        renamed = asked(f"{own}/rename", method="POST", headers=cookie)
        assert renamed.status in (400, 500)
        assert len(answer(f"{server}/api/studies", headers=cookie)["study_summaries"]) == 1
        command.process.send_signal(signal.SIGINT)
        assert command.finished(within_s=60).code == 0
    assert folder.read("journal.log") == journal


@contextmanager
def shown(folder: Store, *, scratch: Path) -> Iterator[tuple[str, Command]]:
    """`daam dashboard` as a process: the address it prints, and the command."""
    with started("dashboard", folder.uri, "--port", "0", scratch=scratch) as command:
        command.until(lambda: "Ctrl-C" in command.out)
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/[\w-]+/", command.out)
        yield address, command


def test_optuna_dashboard_itself_reads_the_journal(folder: Store, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("optuna-dashboard"))
    journal = str(folder.local_path("journal.log"))
    with started_python(
        *(program, journal, "--port", str(port)), scratch=tmp_path / "command"
    ) as command:
        command.until(lambda: has_begun(port))
        (study,) = answer(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert study["study_name"] == "demo"


def has_begun(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def answer(address: str, *, headers: dict[str, str] | None = None) -> Any:
    return json.loads(asked(address, headers=headers).data)


def asked(
    address: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> urllib3.BaseHTTPResponse:
    return urllib3.request(method, address, headers=headers, redirect=False)


def test_a_folder_without_a_study_is_refused(command: Launch, tmp_path: Path) -> None:
    refused = command("dashboard", str(tmp_path))
    assert refused.code == 2
    assert "there is no study in" in refused.err


def test_a_study_without_trials_has_a_page_and_no_plots_yet(tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "demo"))
    write_settings(folder, a_study())
    routes = study_routes(folder)
    assert b"has no report yet" in routes["GET", ""](Request(query={}, body=b"")).body
    application = optuna_of(folder)
    assert application is not None
    with pytest.raises(StudyError, match="no trial of"):
        application({}, lambda *_: lambda _: None)


def test_without_optuna_dashboard_there_is_the_report_alone(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune.dashboard.find_spec", lambda _: None)
    folder.write("report.html", b"<main>report</main>")
    assert study_routes(folder)["GET", ""](Request(query={}, body=b"")).body.count(b"<a") == 0
    assert optuna_of(folder) is None


def test_a_journal_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("journal.log", b'{"op_code": 0, "worker_id": "w"}\n{"op_co')
    assert list(PublishedJournal(store).read_logs(0)) == [{"op_code": 0, "worker_id": "w"}]
