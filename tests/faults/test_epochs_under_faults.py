"""Faults between a run and the store: an epoch has the right rows, or ends with an error in time.

Never a wrong row, never a hang.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from daam.errors import ShardError, StorageError
from daam.storage import Store, open_store
from tests.conftest import BUCKET
from tests.support.fault_proxy import Fault, FaultProxy, Rule
from tests.support.one_epoch import SourceFile, check_an_epoch, import_source, write_source

# Long enough for a busy machine to respond within one attempt; short where nothing responds.
DEADLINE_S, SHORT_DEADLINE_S = 9, 1
# Where half of all requests fail: long enough that none of a few hundred uses up its attempts.
PATIENT_DEADLINE_S = 60
# For everything but waiting: reading, decoding and comparing, on a busy machine.
WORK_S = 10

RULES = (
    Rule(latency_s=0.2),
    Rule(fault=Fault.BUSY, share=0.5),
    Rule(fault=Fault.RESET, share=0.5),
    Rule(fault=Fault.CUT_BODY, share=0.5),
    Rule(fault=Fault.STALL_IN_BODY, share=0.5, max_faults=2),
)
MORE_RULES = (
    Rule(bytes_per_s=200_000),
    Rule(fault=Fault.RESET_IN_BODY, share=0.5),
    Rule(fault=Fault.SILENT, share=0.5, max_faults=2),
)

pytestmark = pytest.mark.timeout(60)
# A request that always fails in the proxy never reaches the server: one server is enough.
only_one_server = pytest.mark.parametrize("real_server", ["rclone"], indirect=True)


class Source(NamedTuple):
    """A data set's folder, and its files by their names."""

    root: Path
    files: dict[str, SourceFile]


class Behind(NamedTuple):
    """A store whose server is behind a proxy."""

    proxy: FaultProxy
    place: str

    def store(self, *, deadline_s: float = DEADLINE_S) -> Store:
        """It, with a deadline of its own."""
        return open_store(f"{self.place}?endpoint={self.proxy.endpoint}&deadline_s={deadline_s}")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A small data set."""
    root = tmp_path_factory.mktemp("source") / "plaza"
    return Source(root, write_source(root))


@pytest.fixture(scope="module")
def prefixes() -> dict[str, str]:
    """Where on each server that was used the domain lies."""
    return {}


@pytest.fixture
def behind(real_server: str, source: Source, prefixes: dict[str, str]) -> Iterator[Behind]:
    """A store that has the domain, on each of two servers."""
    if real_server not in prefixes:
        prefixes[real_server] = f"s3://{BUCKET}/{uuid4().hex}"
        import_source(source.root, to=open_store(prefixes[real_server]))
    with FaultProxy(real_server) as proxy:
        yield Behind(proxy, prefixes[real_server])


@pytest.mark.parametrize(
    ("real_server", "rule"),
    [
        *((server, rule) for server in ("rclone", "swift") for rule in RULES),
        *(("rclone", rule) for rule in MORE_RULES),
    ],
    indirect=["real_server"],
    ids=lambda given: given if isinstance(given, str) else given.fault or "slow",
)
def test_an_epoch_has_the_right_rows_under_intermittent_faults(
    behind: Behind, source: Source, tmp_path: Path, rule: Rule
) -> None:
    behind.proxy.set_rule(rule)
    stalls = rule.fault in (Fault.STALL_IN_BODY, Fault.SILENT)
    store = behind.store(deadline_s=DEADLINE_S if stalls else PATIENT_DEADLINE_S)
    check_an_epoch(store, source=source.files, cache=tmp_path)
    assert rule.fault is None or behind.proxy.num_faults > 0


@only_one_server
@pytest.mark.parametrize(
    "fault",
    [
        Fault.BUSY,
        Fault.RESET,
        Fault.RESET_IN_BODY,
        Fault.CUT_BODY,
        Fault.STALL_IN_BODY,
        Fault.SILENT,
    ],
)
def test_a_permanent_fault_is_an_error_within_the_deadline(
    behind: Behind, source: Source, tmp_path: Path, fault: Fault
) -> None:
    behind.proxy.set_rule(Rule(fault=fault, keys=r"/train-0.*\.arrow"))
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot read s3://.*plaza"):
        check_an_epoch(
            behind.store(deadline_s=SHORT_DEADLINE_S), source=source.files, cache=tmp_path
        )
    assert time.monotonic() - start < SHORT_DEADLINE_S + WORK_S


@only_one_server
@pytest.mark.parametrize("file", ["/train-0", "/train-index", "/train-labels"])
def test_a_file_corrupted_in_transit_is_read_again(
    behind: Behind, source: Source, tmp_path: Path, file: str
) -> None:
    behind.proxy.set_rule(Rule(fault=Fault.CORRUPT_BODY, keys=file, max_faults=1))
    check_an_epoch(behind.store(), source=source.files, cache=tmp_path)
    assert behind.proxy.num_faults == 1


@only_one_server
def test_a_shard_that_is_always_corrupt_is_an_error_that_names_it(
    behind: Behind, source: Source, tmp_path: Path
) -> None:
    behind.proxy.set_rule(Rule(fault=Fault.CORRUPT_BODY, keys="/train-0"))
    with pytest.raises(ShardError, match=r"train-0.*damaged"):
        check_an_epoch(behind.store(), source=source.files, cache=tmp_path)


@only_one_server
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.SILENT])
def test_a_server_lost_during_an_epoch_gives_the_right_rows_or_an_error_in_time(
    behind: Behind, source: Source, tmp_path: Path, fault: Fault
) -> None:
    start = time.monotonic()
    with suppress(StorageError):
        check_an_epoch(
            behind.store(deadline_s=SHORT_DEADLINE_S),
            source=source.files,
            cache=tmp_path,
            meanwhile=lambda: behind.proxy.set_rule(Rule(fault=fault)),
        )
    assert time.monotonic() - start < SHORT_DEADLINE_S + WORK_S
    # The next run uses what the cache holds now, which must be right.
    behind.proxy.set_rule(Rule())
    check_an_epoch(behind.store(), source=source.files, cache=tmp_path)
