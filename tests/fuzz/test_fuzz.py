"""A damaged or hostile file gives the right result or a DaamError, never anything else.

Each input is read in another process, with bounded memory and time, where files outside its folder
are a finding. `make fuzz` runs more inputs; what it finds goes to the corpus.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.corpus import findings, keep
from tests.fuzz.misbehaving import BAD_INPUTS
from tests.fuzz.runner import Worker
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import BAD, REFUSED, RIGHT

NUM_INPUTS = 20  # of each target

every_target = pytest.mark.parametrize("name", TARGETS)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


@every_target
def test_real_files_are_read(worker: Worker, name: str) -> None:
    for sample in TARGETS[name]().samples:
        outcome = worker.run(name, sample)
        assert outcome.kind == RIGHT, outcome.reason


@every_target
def test_mutated_files_are_read_or_refused(worker: Worker, name: str) -> None:
    @settings(
        max_examples=NUM_INPUTS,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(TARGETS[name]().mutated)
    def check(data: bytes) -> None:
        outcome = worker.run(name, data)
        assert outcome.kind != BAD, f"{outcome.reason}; kept: {keep(name, data)}"

    check()


@every_target
def test_what_was_found_once_stays_fixed(worker: Worker, name: str) -> None:
    for path in findings(name):
        outcome = worker.run(name, path.read_bytes())
        assert outcome.kind != BAD, f"{path.name}: {outcome.reason}"


def test_every_way_to_end_badly_is_found() -> None:
    with Worker(timeout_s=3) as worker:
        for data, reason in BAD_INPUTS.items():
            outcome = worker.run("misbehaving", data)
            assert outcome.kind == BAD, data
            assert reason in str(outcome.reason)
            assert worker.run("misbehaving", b"right").kind == RIGHT
        assert worker.run("misbehaving", b"unknown").kind == REFUSED
