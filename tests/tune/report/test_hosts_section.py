"""Which hosts trained what, what went wrong, and the newest lines."""

import re
from dataclasses import replace

from tests.support.studies import a_record, some_events
from tune.events import HOST_LOST, PROCESS_KILLED
from tune.report.page import report_page
from tune.report.sections.hosts import MAX_RUNS, NUM_EVENTS, hosts_section, log_section


def rows_of(html: str) -> list[list[str]]:
    """The cells of every row, without markup."""
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", html)
    ]


def test_a_host_is_listed_with_its_runs_and_the_restarts_it_caused() -> None:
    rows = rows_of(hosts_section(a_record()))
    assert rows[1:3] == [
        ["10.77.0.10", "", ", ".join(f"trial-{n:04d}" for n in range(0, 12, 2)), "6", "–"],  # noqa: RUF001
        ["10.77.0.11", "", ", ".join(f"trial-{n:04d}" for n in range(1, 12, 2)), "6", "1"],
    ]


def test_a_host_that_did_not_come_back_is_lost() -> None:
    event = {"time": "2026-01-01T10:00:00+00:00", "kind": HOST_LOST, "host": "10.77.0.10"}
    record = replace(a_record(), events=[*some_events(), {**event, "text": "lost"}])
    assert rows_of(hosts_section(record))[1][:2] == ["10.77.0.10", "lost"]


def test_what_happened_is_listed_newest_first_and_escaped() -> None:
    text = hosts_section(a_record())
    assert text.index("joined, there are 2 now") < text.index("&lt;no answer&gt;")
    assert text.index("&lt;no answer&gt;") < text.index("restart 1 of 3, continues from epoch 2")
    assert "trial-0003 trains on" not in text
    assert rows_of(text)[-1] == [
        *("2025-03-04 10:00:00", "driver", "driver started on head, process 4211"),
    ]


def test_of_many_faults_and_runs_the_newest_are_shown() -> None:
    faults = [
        {
            **{"time": "2026-01-01T10:00:00+00:00", "kind": PROCESS_KILLED, "run": "r"},
            **{"text": f"fault {number}.", "restart": number, "host": "h"},
        }
        for number in range(NUM_EVENTS + 3)
    ]
    runs = [
        {"time": "", "kind": "trains_on", "run": f"trial-{number:04d}", "host": "h", "text": ""}
        for number in range(MAX_RUNS + 2)
    ]
    text = hosts_section(replace(a_record(), events=[*runs, *faults]))
    assert "The 3 before are in events.jsonl." in text
    assert "fault 2." not in text
    assert "fault 3." in text
    assert "trial-0001" not in text
    assert "trial-0013 and 2 before" in text


def test_a_study_without_events_has_no_such_section() -> None:
    assert hosts_section(replace(a_record(), events=[])) == ""
    assert "Hosts and faults" not in report_page(replace(a_record(), events=[]))


def test_a_running_study_shows_the_newest_lines_first() -> None:
    text = log_section(a_record(running=True))
    assert text.index("trial-0007 epoch 3/12 score 0.250") < text.index("search: 12 runs")
    assert log_section(a_record()) == ""
