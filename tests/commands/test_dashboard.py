"""`daam dashboard`: optuna-dashboard in a real process, asked over HTTP."""

import json
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import urllib3

from daam.storage import Store, open_store
from tests.support.commands import Launch, started, started_python
from tests.support.studies import a_study
from tune.folder.folder import open_study, write_settings
from tune.folder.journal import PublishedJournal

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
            study.tell(trial, score)
    publish()
    return folder


def test_the_dashboard_shows_the_trials_of_a_study_and_changes_nothing(
    folder: Store, tmp_path: Path
) -> None:
    journal = folder.read("journal.log")
    with started("dashboard", folder.uri, "--port", "0", scratch=tmp_path / "command") as command:
        command.until(lambda: "Ctrl-C" in command.out)
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+", command.out)
        (study,) = answer(f"{address}/api/studies")["study_summaries"]
        assert study["study_name"] == "demo"
        trials = answer(f"{address}/api/studies/{study['study_id']}?after=0")["trials"]
        assert [(trial["state"], trial.get("values")) for trial in trials] == [
            ("Complete", [0.25]),
            ("Running", None),
        ]
        assert b"Optuna Dashboard" in asked(f"{address}/dashboard").data
        assert asked(f"{address}/api/studies/{study['study_id']}", method="DELETE").status == 500
        assert len(answer(f"{address}/api/studies")["study_summaries"]) == 1
        command.process.send_signal(signal.SIGINT)
        assert command.finished(within_s=20).code == 0
    assert folder.read("journal.log") == journal


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


def answer(address: str) -> Any:
    return json.loads(asked(address).data)


def asked(address: str, *, method: str = "GET") -> urllib3.BaseHTTPResponse:
    return urllib3.request(method, address)


def test_a_folder_without_a_study_is_refused(command: Launch, tmp_path: Path) -> None:
    refused = command("dashboard", str(tmp_path))
    assert refused.code == 2
    assert "there is no study in" in refused.err


def test_a_study_without_trials_is_refused(command: Launch, tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "demo"))
    write_settings(folder, a_study())
    refused = command("dashboard", folder.uri)
    assert refused.code == 2
    assert "no trial of" in refused.err


def test_a_missing_package_is_named(
    command: Launch, folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune.dashboard.find_spec", lambda _: None)
    refused = command("dashboard", folder.uri)
    assert refused.code == 2
    assert "pip install optuna-dashboard" in refused.err


def test_a_journal_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("journal.log", b'{"op_code": 0}\n{"op_co')
    assert list(PublishedJournal(store).read_logs(0)) == [{"op_code": 0}]
