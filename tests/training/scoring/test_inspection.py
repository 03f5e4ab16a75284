"""Diagnostics of an epoch: taken without changing the run, of the images it says."""

import math

import numpy as np
import pytest
import torch

from daam.dataset.pixels.normalise import normalise
from daam.errors import TrainingError
from daam.training.scoring.inspection import inspect
from daam.training.setup.assemble import Run, assemble
from tests.support.tiny_runs import same, weights_of


@pytest.fixture
def run(config_of) -> Run:
    return assemble(config_of())


def test_diagnostics_match_loops_over_the_images(run):
    found = inspect(run)
    run.network.eval()
    images = torch.cat(
        [reader.read(np.arange(72)) for reader in (run.source.reader, run.target.reader)]
    )
    with torch.no_grad():
        output = run.network(normalise(images), num_source=72)
    shared = (output.shared_BC / output.shared_BC.norm(dim=1, keepdim=True)).double()
    for name, rows in (("source_distance", shared[:72]), ("target_distance", shared[72:])):
        distances = [1 - float(rows[i] @ rows[j]) for i in range(72) for j in range(72) if i != j]
        assert found[name] == pytest.approx(sum(distances) / len(distances), abs=1e-6)
    source, target = shared[:72].mean(dim=0), shared[72:].mean(dim=0)
    cosine = float(source @ target) / float(source.norm() * target.norm())
    assert found["domain_mean_cosine"] == pytest.approx(cosine, abs=1e-5)
    # At the start the attention is even.
    assert found["attention_mean"] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-6)
    assert found["attention_std"] == pytest.approx(0, abs=1e-6)
    assert 0 <= found["probe_shared"] <= 1
    assert 0 <= found["probe_specific"] <= 1


def test_a_look_changes_nothing_and_repeats(run):
    run.network.train()
    before = weights_of(run)
    assert inspect(run) == inspect(run)
    assert run.network.training
    assert same(weights_of(run), before)


def test_a_network_without_attention_has_nothing_to_tell_of_it(config_of):
    found = inspect(assemble(config_of(preset="source_only")))
    assert set(found) == {
        "probe_shared",
        "domain_mean_cosine",
        "source_distance",
        "target_distance",
    }


def test_features_that_are_not_finite_are_refused(run):
    with torch.no_grad():
        next(run.network.backbone.parameters()).fill_(math.nan)
    run.num_epochs_done = 4
    with pytest.raises(TrainingError, match="features of epoch 4 are NaN or infinite"):
        inspect(run)


def test_the_size_of_a_forward_pass_changes_nothing_but_rounding(config_of):
    found = [
        inspect(assemble(config_of({"evaluation.batch_size": batch_size})))
        for batch_size in (1, 7, 500)
    ]
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-5)
