"""Faults between an import or a run and the store: what is stored is complete, or absent."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from daam.config.schema import RunConfig
from daam.errors import StorageError
from daam.runs.checkpoint import latest_checkpoint, save_checkpoint
from daam.runs.run_folder import read_reports, start_run
from daam.runs.worker import train_run
from daam.storage import open_store
from daam.storage.s3 import writing
from tests.conftest import BUCKET
from tests.support.fault_proxy import Fault, FaultProxy, Rule
from tests.support.files_of_domains import domains_in
from tests.support.one_epoch import check_an_epoch, import_source, write_source

# Where half of all requests fail: long enough that none uses up its attempts, even on a busy
# machine. Short where nothing responds.
DEADLINE_S, SHORT_DEADLINE_S = 60, 3
WORK_S = 15
PART_BYTES = 5 << 20
MULTIPART_BYTES = 2 * PART_BYTES + 1000

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def proxy(real_server: str) -> Iterator[FaultProxy]:
    """A proxy in front of each of two servers."""
    with FaultProxy(real_server) as running:
        yield running


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multipart uploads with the smallest parts that S3 allows."""
    monkeypatch.setattr(writing, "PART_SIZE_BYTES", PART_BYTES)


@pytest.fixture
def place() -> str:
    """An empty place on either server."""
    return f"s3://{BUCKET}/{uuid4().hex}"


def through(proxy: FaultProxy, place: str, *, deadline_s: float = DEADLINE_S) -> str:
    """The address of a place by way of a proxy."""
    return f"{place}?endpoint={proxy.endpoint}&deadline_s={deadline_s}"


@pytest.mark.parametrize(
    ("real_server", "rule"),
    [
        ("rclone", Rule(fault=Fault.RESET, share=0.5)),
        ("rclone", Rule(fault=Fault.BUSY, share=0.5)),
        ("swift", Rule(fault=Fault.BUSY, share=0.5)),
        ("swift", Rule(fault=Fault.RESET_IN_UPLOAD, share=0.5)),
    ],
    indirect=["real_server"],
    ids=lambda given: given if isinstance(given, str) else given.fault,
)
def test_an_import_is_complete_under_intermittent_faults(
    proxy: FaultProxy, place: str, tmp_path: Path, rule: Rule
) -> None:
    source = write_source(tmp_path / "plaza")
    proxy.set_rule(rule)
    import_source(tmp_path / "plaza", to=open_store(through(proxy, place)))
    assert proxy.num_faults > 0
    check_an_epoch(open_store(place), source=source, cache=tmp_path / "cache")


@pytest.mark.parametrize("real_server", ["rclone"], indirect=True)
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RESET_IN_UPLOAD, Fault.SILENT])
def test_a_failed_import_leaves_no_manifest_and_resumes_where_it_stopped(
    proxy: FaultProxy, place: str, tmp_path: Path, fault: Fault
) -> None:
    source = write_source(tmp_path / "plaza")
    proxy.set_rule(Rule(fault=fault, methods={"PUT"}, keys="gallery-00000"))
    store = open_store(through(proxy, place, deadline_s=SHORT_DEADLINE_S))
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot write .*gallery-00000"):
        import_source(tmp_path / "plaza", to=store)
    assert time.monotonic() - start < SHORT_DEADLINE_S + WORK_S
    assert domains_in(open_store(place)) == []

    proxy.set_rule(Rule())
    before = Counter(proxy.requests)
    import_source(tmp_path / "plaza", to=store)
    check_an_epoch(open_store(place), source=source, cache=tmp_path / "cache")
    again = {key for (method, key) in proxy.requests - before if method == "PUT"}
    assert not any("train-0000" in key for key in again)


@pytest.mark.parametrize("num_bytes", [1000, MULTIPART_BYTES])
def test_an_upload_corrupted_in_transit_is_never_stored(
    proxy: FaultProxy, place: str, tmp_path: Path, num_bytes: int, small_parts: None
) -> None:
    data = os.urandom(num_bytes)
    (tmp_path / "file").write_bytes(data)
    proxy.set_rule(Rule(fault=Fault.CORRUPT_UPLOAD, methods={"PUT"}, max_faults=1))
    open_store(through(proxy, place)).upload(tmp_path / "file", "key")
    assert proxy.num_faults == 1
    assert open_store(place).read("key") == data


@pytest.mark.parametrize(
    "rule",
    [Rule(fault=Fault.BUSY, share=0.5), Rule(fault=Fault.RESET_IN_UPLOAD, share=0.3)],
    ids=lambda rule: rule.fault,
)
def test_a_multipart_upload_is_complete_under_intermittent_faults(
    proxy: FaultProxy, place: str, tmp_path: Path, rule: Rule, small_parts: None
) -> None:
    data = os.urandom(MULTIPART_BYTES)
    (tmp_path / "file").write_bytes(data)
    proxy.set_rule(rule)
    open_store(through(proxy, place)).upload(tmp_path / "file", "key")
    assert sum(count for (method, _), count in proxy.requests.items() if method == "PUT") >= 3
    assert open_store(place).read("key") == data


def test_a_checkpoint_that_cannot_be_stored_leaves_the_previous_one(
    proxy: FaultProxy, place: str
) -> None:
    states = [
        {"num_epochs_done": epoch, "weights": torch.full((1000,), float(epoch))} for epoch in (1, 2)
    ]
    proxy.set_rule(Rule(fault=Fault.BUSY, share=0.5))
    save_checkpoint(open_store(through(proxy, place)), states[0])
    first = latest_checkpoint(open_store(place))
    assert first is not None
    stored = open_store(place).read(first.key)
    proxy.set_rule(Rule(fault=Fault.RESET_IN_UPLOAD, keys="epoch-0002"))
    with pytest.raises(StorageError, match=r"cannot write .*epoch-0002"):
        save_checkpoint(open_store(through(proxy, place, deadline_s=SHORT_DEADLINE_S)), states[1])
    proxy.set_rule(Rule(fault=Fault.CUT_BODY, share=0.5))
    store = open_store(through(proxy, place))
    assert latest_checkpoint(store) == first
    assert store.read(first.key) == stored


@pytest.mark.parametrize("real_server", ["rclone"], indirect=True)
def test_a_run_completes_with_half_of_its_requests_refused(
    proxy: FaultProxy, place: str, tiny_config: RunConfig
) -> None:
    proxy.set_rule(Rule(fault=Fault.BUSY, share=0.5))
    folder = start_run(through(proxy, place), tiny_config)
    list(train_run(folder, tiny_config))
    assert proxy.num_faults > 0
    assert [report["epoch"] for report in read_reports(open_store(place))] == [1, 2]
