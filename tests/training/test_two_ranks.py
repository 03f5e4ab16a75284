"""Two processes train as one: same data, same weights, same memory, same pseudo-labels."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from daam.training.setup.assemble import assemble
from tests.support.tiny_runs import same
from tests.support.two_ranks import NUM_RANKS, NUM_STEPS, PRESETS, config_of, rows_seen

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(domains: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks found, by preset."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.two_ranks", str(rank), domains, folder],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(NUM_RANKS)
    ]
    try:
        said = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(NUM_RANKS)]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "what",
    ["state", "reports", "groups", "embeddings", "centres", "query", "mAP", "single"],
)
def test_both_ranks_end_alike(ranks, preset, what):
    first, second = (rank[preset][what] for rank in ranks)
    assert same(first, second)


def test_the_ranks_had_groups_and_a_nominal_domain_to_agree_on(ranks):
    found = ranks[0]["daam_v2"]
    assert found["groups"].max() >= 1
    assert found["state"]["nominal_centre"].norm() > 0.1
    assert found["state"]["num_epochs_done"] == 3


def test_the_ranks_had_exemplars_a_centre_and_a_teacher_to_agree_on(ranks):
    assert ranks[0]["daam_v1"]["state"]["exemplars"].norm() > 1
    assert ranks[0]["daam_v1"]["state"]["source_centre"].norm() > 0.1
    assert ranks[0]["strong"]["state"]["teacher"] is not None


@pytest.mark.parametrize("preset", PRESETS)
def test_two_ranks_together_see_the_batches_of_one(ranks, preset, domains):
    alone = rows_seen(assemble(config_of(domains, preset, num_ranks=1)))
    for what in ("source_rows", "source_images", "target_rows", "target_images"):
        for step in range(NUM_STEPS):
            together = torch.cat([rank[preset]["rows"][what][step] for rank in ranks])
            assert torch.equal(together, alone[what][step])


def test_collectives_give_every_rank_the_same(ranks):
    for rank in ranks:
        found = rank["daam_v2"]
        assert found["mean"].tolist() == [0.5, 2.0]
        assert found["gathered"].tolist() == [[0.0], [0.0], [1.0], [1.0]]
        assert found["table"].tolist() == [[0.0], [10.0], [20.0], [30.0], [40.0]]
        assert found["word"] == "rank 0"
        assert found["manifest"] == ranks[0]["daam_v2"]["manifest"]
