"""A store that stops answering is said once, and so is its return."""

import logging

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from daam.storage import OUTAGES, open_store
from daam.storage.local_s3 import LocalS3
from daam.storage.s3 import outage
from daam.storage.s3.outage import Outage
from tests.support.fault_proxy import Fault, FaultProxy, Rule

AWAY = EndpointConnectionError(endpoint_url="http://10.0.0.9:9000")
BUSY = ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")


class Watched:
    """An outage with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outage = Outage("http://10.0.0.9:9000", clock=lambda: self.now)

    def fail_until(self, end: float, error: Exception) -> None:
        while self.now <= end:
            self.outage.failed(error)
            self.now += 1


@pytest.mark.parametrize(
    ("error", "why"), [(AWAY, "EndpointConnectionError"), (BUSY, "it answers SlowDown")]
)
def test_one_line_at_its_begin_and_one_at_its_end(
    caplog: pytest.LogCaptureFixture, error: Exception, why: str
) -> None:
    watched = Watched()
    watched.fail_until(60, error)
    watched.outage.answered()
    watched.outage.answered()
    begin, end = (record.getMessage() for record in caplog.records)
    assert begin.startswith("store unreachable since ")
    assert begin.endswith(f", retrying: http://10.0.0.9:9000 ({why})")
    assert end == "store reached again after 61 s: http://10.0.0.9:9000"
    watched.fail_until(80, error)
    assert len(caplog.records) == 3  # the next outage


def test_a_server_that_answers_now_and_then_has_none(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    for end in range(2, 100, 3):
        watched.fail_until(end, BUSY)
        watched.outage.answered()
    assert not caplog.records


def test_a_real_server_that_is_away_for_a_while(
    s3_uri: str,
    s3_server: LocalS3,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outage, "SAID_AFTER_S", 0.3)
    with FaultProxy(s3_server.endpoint) as proxy:
        store = open_store(f"{s3_uri}?endpoint={proxy.endpoint}&deadline_s=60")
        store.write("before", b"")
        proxy.set_rule(Rule(fault=Fault.BUSY, max_faults=8))
        store.write("after", b"")
    messages = [record.getMessage() for record in caplog.records if record.name == OUTAGES]
    assert [text.split(maxsplit=2)[:2] for text in messages] == [
        ["store", "unreachable"],
        ["store", "reached"],
    ]
    assert caplog.records[0].levelno == logging.WARNING
