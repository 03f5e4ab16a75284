"""A single process is a group of one; what two do together is in `test_two_ranks`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from daam.training import collectives
from tests.support.commands import ROOT
from tests.support.kept_ranks import NUM_KEPT, NUM_RANKS


def test_a_single_process_is_rank_0_of_1():
    assert (collectives.rank(), collectives.num_ranks()) == (0, 1)


def test_a_mean_over_one_rank_is_a_copy_without_gradient():
    tensor = torch.ones(2, requires_grad=True)
    found = collectives.mean_over_ranks(tensor)
    found += 1
    assert tensor.tolist() == [1, 1]
    assert not found.requires_grad


def test_gathering_from_one_rank_gives_its_own_without_gradient():
    tensor = torch.ones(2, requires_grad=True)
    assert torch.equal(collectives.gather_equal(tensor), tensor)
    assert not collectives.gather_equal(tensor).requires_grad


def test_rows_are_put_in_their_places():
    table = collectives.gather_rows(
        torch.tensor([2, 0, 1]), torch.tensor([[2.0, 20.0], [0.0, 0.0], [1.0, 10.0]]), num_rows=3
    )
    assert table.tolist() == [[0, 0], [1, 10], [2, 20]]


def test_a_value_of_rank_zero_and_its_tensors_are_ones_own():
    value, tensor = object(), torch.ones(2)
    collectives.overwrite_with_rank_zero([tensor])
    assert collectives.from_rank_zero(value) is value
    assert tensor.tolist() == [1, 1]


@pytest.mark.slow
def test_the_ranks_that_are_kept_are_the_group_and_the_others_are_not_waited_for(tmp_path: Path):
    module = (sys.executable, "-m", "tests.support.kept_ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen([*module, str(rank), str(tmp_path)], cwd=ROOT, env=environment)
        for rank in range(NUM_RANKS)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0] * NUM_RANKS
    finally:
        for process in processes:
            process.kill()
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(NUM_RANKS)]
    seen = {"num_ranks": 2, "mean": [1.5], "gathered": [1, 2], "of_all": [0, 1], "of_zero": 0}
    assert found[:NUM_KEPT] == [{"rank": rank} | seen for rank in range(NUM_KEPT)]
    assert found[NUM_KEPT:] == ["not kept"]
