"""What happened to a study can be read from its folder, whatever happened to its driver."""

import json
import logging
import stat
from datetime import datetime
from pathlib import Path

import pytest

from daam.errors import StorageError
from daam.storage import OUTAGES, Store, open_store
from tune.events import HOST_LOST, STORE, TRAINS_ON, Event
from tune.folder import events
from tune.folder.events import (
    EVENTS,
    SESSIONS,
    EventLog,
    Session,
    history_of,
    outages_as_events,
    read_events,
)

LOST = Event(
    kind=HOST_LOST,
    text="trial-0002: host 10.77.0.11 lost, restart 1 of 3, continues from epoch 2",
    run="trial-0002",
    host="10.77.0.11",
    restart=1,
    epoch=2,
)


def test_events_are_a_line_of_json_each_and_those_of_later_processes_follow(store: Store) -> None:
    for kind in ("first", "second"):
        log = EventLog(store)
        log.add(LOST)
        log.add(Event(kind=kind, text=kind))
        assert log.has_news
        log.publish()
        assert not log.has_news
    lines = [json.loads(line) for line in store.read(EVENTS).splitlines()]
    assert [line["kind"] for line in lines] == [HOST_LOST, "first", HOST_LOST, "second"]
    assert datetime.fromisoformat(lines[0].pop("time")).tzinfo is not None
    assert lines[0] == {
        "kind": "host_lost",
        "text": "trial-0002: host 10.77.0.11 lost, restart 1 of 3, continues from epoch 2",
        "run": "trial-0002",
        "host": "10.77.0.11",
        "restart": 1,
        "epoch": 2,
    }


def test_the_file_is_its_owners_alone_and_keeps_the_newest_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_BYTES", 1000)
    log = EventLog(open_store(str(tmp_path)))
    for number in range(100):
        log.add(Event(kind=STORE, text=f"event {number}"))
    log.publish()
    file = tmp_path / EVENTS
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert 800 < file.stat().st_size <= 1000
    kept = [event["text"] for event in read_events(open_store(str(tmp_path)))]
    assert kept == [f"event {number}" for number in range(100 - len(kept), 100)]


def test_a_folder_that_cannot_be_written_to_gets_the_events_later(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(key: str, data: bytes) -> None:
        raise StorageError("the disk is full")

    log = EventLog(store)
    log.add(LOST)
    with monkeypatch.context() as full:
        full.setattr(store, "write", refuse)
        log.publish()
    assert "the disk is full" in caplog.text
    assert log.has_news
    log.publish()
    assert [event["kind"] for event in read_events(store)] == [HOST_LOST]


@pytest.mark.parametrize("line", ['{"kind', "[]", "3", '{"kind": "c"}', '{"kind": 1, "text": "c"}'])
def test_a_damaged_line_is_left_out(
    store: Store, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    whole = ['{"kind": "a", "text": "a"}', '{"kind": "b", "text": "b"}']
    store.write(EVENTS, f"{whole[0]}\n{line}\n{whole[1]}\n".encode())
    assert [event["kind"] for event in read_events(store)] == ["a", "b"]
    assert "damaged" in caplog.text


def test_outages_of_a_store_become_events_and_are_not_printed_as_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    received: list[Event] = []
    with outages_as_events(received.append):
        logging.getLogger(OUTAGES).warning("store unreachable since %s", "12:00:00")
    assert [(event.kind, event.text) for event in received] == [
        (STORE, "store unreachable since 12:00:00")
    ]
    assert not caplog.records
    logging.getLogger(OUTAGES).warning("again")
    assert len(received) == 1


def test_the_time_of_a_study_is_that_of_all_its_sessions(store: Store) -> None:
    now = [0.0]
    for seconds in (5.0, 7.0, 0.5):
        session = Session(store, clock=lambda: now[0])
        for _ in range(2):
            now[0] += seconds / 2
            session.store()
    history = history_of(store)
    assert history.seconds == 12.5
    assert [session["seconds"] for session in history.sessions] == [5.0, 7.0, 0.5]
    assert {*history.sessions[0]} == {"began", "host", "pid", "seconds"}


@pytest.mark.parametrize("content", [b"[", b"{}", b"[3]", b'[{"seconds": 1}]'])
def test_a_damaged_file_of_sessions_only_costs_its_time(
    store: Store, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    store.write(SESSIONS, content)
    Session(store, clock=lambda: 0.0).store()
    assert "damaged" in caplog.text
    assert history_of(store).seconds == 0


def test_the_history_counts_restarts_and_knows_the_hosts(store: Store) -> None:
    log = EventLog(store)
    for host in ("10.0.0.1", "10.0.0.1,10.0.0.2", "10.0.0.3"):
        log.add(Event(kind=TRAINS_ON, text="", run="trial-0002", host=host))
    for _ in range(2):
        log.add(LOST)
    log.publish()
    history = history_of(store)
    assert history.restarts == {"trial-0002": 2}
    assert history.hosts == {"trial-0002": ["10.0.0.1", "10.0.0.2", "10.0.0.3"]}
