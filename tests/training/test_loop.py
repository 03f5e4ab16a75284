"""A run from its first epoch to its last: learns, repeats itself, never looks at a target label."""

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from daam.errors import NonFiniteLossError, ShardError, TrainingError
from daam.training.batches import source_batches, target_batches
from daam.training.loop import averaged, fit
from daam.training.relabel import regroup
from daam.training.schedule import learning_rate_at
from daam.training.scoring.retrieval_test import RetrievalTest
from daam.training.setup.assemble import assemble
from tests.support.tiny_runs import (
    PRESETS,
    numbers_of,
    same,
    tiny_config,
    untimed_metrics,
    weights_of,
)

SOURCE_TERMS = {"total", "identity", "triplet"}
ALL_TERMS = SOURCE_TERMS | {"domain_classification", "domain_similarity", "target"}
SHARED_DIAGNOSTICS = {
    "probe_shared",
    "domain_mean_cosine",
    "source_distance",
    "target_distance",
}
SPLIT_DIAGNOSTICS = {
    "probe_specific",
    "attention_mean",
    "attention_std",
    "attention_above_0.9",
    "attention_below_0.1",
}


def pulls(terms: set[str]) -> set[str]:
    return {f"gradient_{term}" for term in terms - {"total"}}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_epoch_ends_in_one_report_of_finite_numbers(config_of, preset):
    run = assemble(config_of({"optimiser.num_epochs": 3}, preset=preset))
    reports = []
    for report in fit(run):
        assert run.num_epochs_done == report.epoch
        reports.append(report)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert {report.num_epochs for report in reports} == {3}
    for report in reports:
        assert report.seconds > 0
        assert all(math.isfinite(value) for value in numbers_of(report.as_metrics()))
    losses = [set(report.losses) for report in reports]
    diagnostics = [set(report.diagnostics) for report in reports]
    label_free = [set(report.label_free) for report in reports]
    assert label_free == [set(), *([set() if preset == "source_only" else {"self_retrieval"}] * 2)]
    if preset == "source_only":
        assert losses == [SOURCE_TERMS] * 3
        assert diagnostics == [SHARED_DIAGNOSTICS | pulls(SOURCE_TERMS)] * 3
    else:  # one epoch of warm-up
        early = SHARED_DIAGNOSTICS | SPLIT_DIAGNOSTICS
        late = early | {"num_groups", "outlier_share", "silhouette"} | pulls(ALL_TERMS)
        early |= pulls(SOURCE_TERMS | {"domain_classification"})
        assert losses == [SOURCE_TERMS | {"domain_classification"}, ALL_TERMS, ALL_TERMS]
        assert diagnostics == [early, late, late]


def test_a_report_is_one_flat_table(config_of):
    report = next(fit(assemble(config_of())))
    metrics = report.as_metrics()
    assert (metrics["epoch"], metrics["num_epochs"]) == (1, report.num_epochs)
    assert metrics["seconds"] == report.seconds
    assert not any(name.startswith("label_free") for name in metrics)  # of a warm-up
    parts = [metrics[f"seconds/{part}"] for part in ("labels", "steps", "diagnostics")]
    assert sum(parts) == pytest.approx(report.seconds)
    assert metrics["loss/identity"] == report.losses["identity"]
    assert metrics["diagnostic/probe_shared"] == report.diagnostics["probe_shared"]
    assert 0 < metrics["seconds/wait"] <= metrics["seconds/steps"]
    assert len(metrics) == 7 + len(report.losses) + len(report.diagnostics)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_losses_of_the_source_fall(config_of, preset):
    changes = {
        "optimiser.num_epochs": 6,
        "optimiser.steps_per_epoch": 8,
        "data.augmentation.erase": 0.0,
    }
    reports = list(fit(assemble(config_of(changes, preset=preset))))
    assert reports[-1].losses["identity"] < 0.95 * reports[0].losses["identity"]
    assert reports[-1].losses["triplet"] < reports[0].losses["triplet"]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_seed_gives_the_same_weights_to_the_bit(config_of, preset):
    runs = [assemble(config_of(preset=preset)) for _ in range(2)]
    reports = []
    for number, run in enumerate(runs):
        torch.manual_seed(number)  # what the process drew before does not matter
        np.random.seed(number)
        reports.append(untimed_metrics(fit(run)))
    assert reports[0] == reports[1]
    assert same(weights_of(runs[0]), weights_of(runs[1]))


def test_the_number_of_threads_does_not_show(config_of):
    runs = [assemble(config_of({"data.num_threads": number})) for number in (1, 3)]
    for run in runs:
        list(fit(run))
    assert same(weights_of(runs[0]), weights_of(runs[1]))


def test_another_seed_gives_other_weights_and_other_batches(config_of):
    runs = [assemble(config_of({"seed": seed})) for seed in (1, 2)]
    for run in runs:
        list(fit(run))
    assert not same(weights_of(runs[0]), weights_of(runs[1]))
    batches = [
        torch.cat([b.rows for b in target_batches(run, epoch=0, steps=range(3), labels=None)])
        for run in runs
    ]
    assert not torch.equal(*batches)


def test_each_step_has_the_learning_rate_of_its_place_in_the_run(config_of):
    changes = {"optimiser.num_epochs": 4, "optimiser.schedule": "cosine"}
    run = assemble(config_of(changes))
    rates: list[float] = []
    run.optimiser.register_step_pre_hook(
        lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"])
    )
    list(fit(run))
    assert rates == [learning_rate_at(run.config, step=step) for step in range(8)]
    assert rates[:2] != rates[2:4] != rates[4:6] != rates[6:]


def test_every_epoch_and_each_domain_has_batches_of_its_own(config_of):
    run = assemble(config_of())
    seen = set()
    for epoch in range(3):
        source = next(source_batches(run, epoch=epoch, steps=range(1)))
        target = next(target_batches(run, epoch=epoch, steps=range(1), labels=None))
        seen |= {tuple(source.rows.tolist()), tuple(target.rows.tolist())}
    assert len(seen) == 6


def test_a_run_that_is_done_has_nothing_more_to_report(config_of):
    run = assemble(config_of())
    list(fit(run))
    before = weights_of(run)
    assert list(fit(run)) == []
    assert same(weights_of(run), before)


def store_without_labels(domains: Path, folder: Path, *, domain: str, damage: str) -> Path:
    """A copy of the store in which a domain's labels files are gone or nonsense."""
    root = folder / "store"
    shutil.copytree(domains, root)
    files = list((root / domain).glob("*-labels-*.arrow"))
    assert len(files) == 5
    for file in files:
        if damage == "deleted":
            file.unlink()
        else:
            file.write_bytes(b"\0" * file.stat().st_size)
    return root


@pytest.mark.parametrize("damage", ["deleted", "overwritten"])
@pytest.mark.parametrize("hold_out", [False, True])
def test_labels_of_the_target_are_never_read(config_of, domains, tmp_path, damage, hold_out):
    changes = {"evaluation.hold_out": hold_out, "optimiser.num_epochs": 3}
    intact = assemble(config_of(changes))
    with_labels = untimed_metrics(fit(intact))
    root = store_without_labels(domains, tmp_path, domain="campus", damage=damage)
    unlabelled = assemble(tiny_config(root, changes))
    assert untimed_metrics(fit(unlabelled)) == with_labels
    assert same(weights_of(unlabelled), weights_of(intact))
    assert same(unlabelled.optimiser.state_dict(), intact.optimiser.state_dict())
    with pytest.raises(ShardError):  # which a test does read
        RetrievalTest.on_validation(unlabelled.config, manifest=unlabelled.target.manifest)


def test_labels_of_the_source_are_needed(domains, tmp_path):
    root = store_without_labels(domains, tmp_path, domain="plaza", damage="deleted")
    with pytest.raises(ShardError):
        assemble(tiny_config(root))


def test_batches_of_the_target_carry_no_identities(config_of):
    batch = next(iter(target_batches(assemble(config_of()), epoch=0, steps=range(1), labels=None)))
    assert batch.identities is None


def test_target_batches_hold_whole_groups_where_there_are_enough(config_of):
    run = assemble(config_of())
    labels = regroup(run)
    assert labels.num_groups >= 4
    for batch in target_batches(run, epoch=0, steps=range(4), labels=labels):
        groups = labels.groups_N[batch.rows.numpy()].reshape(4, 2)
        assert (groups[:, 0] == groups[:, 1]).all()
        assert len(set(groups[:, 0])) == 4
        assert groups.min() >= 0


def test_target_batches_are_uniform_where_there_are_too_few_groups(config_of):
    run = assemble(config_of())
    labels = dataclasses.replace(regroup(run), num_groups=3)
    rows = torch.cat(
        [batch.rows for batch in target_batches(run, epoch=0, steps=range(9), labels=labels)]
    )
    assert sorted(rows.tolist()) == list(range(72))  # 9 steps of 8: each image once


def test_training_goes_on_where_no_image_finds_a_group(config_of):
    changes = {"loss.target.min_samples": 70, "loss.target.eps": 0.001}
    reports = list(fit(assemble(config_of(changes))))
    assert reports[-1].diagnostics["num_groups"] == 0
    assert reports[-1].diagnostics["outlier_share"] == 1
    assert reports[-1].losses["target"] == 0


def poison(weight: torch.Tensor) -> None:
    with torch.no_grad():
        weight[(0,) * weight.dim()] = math.nan


def test_a_loss_that_is_not_a_number_is_named_with_its_epoch_and_step(config_of):
    run = assemble(config_of())
    poison(run.network.shared.classifier.weight)
    with pytest.raises(NonFiniteLossError) as caught:
        next(fit(run))
    assert "the loss identity became nan in epoch 1, step 1" in str(caught.value)
    assert "lower optimiser.learning_rate" in str(caught.value)
    assert run.num_epochs_done == 0


def test_every_broken_term_of_the_first_broken_step_is_named(config_of):
    run = assemble(config_of())
    poison(next(run.network.backbone.parameters()))
    with pytest.raises(
        NonFiniteLossError, match="identity and triplet and domain_classification became nan"
    ):
        next(fit(run))


def test_the_first_broken_step_is_the_one_told():
    steps = [torch.tensor(value) for value in (1.0, 2.0, 3.0, 4.0)]
    history = [{"total": value, "identity": value, "target": value} for value in steps]
    history[2] = {"total": steps[2] * math.inf, "identity": steps[2], "target": steps[2] * math.inf}
    history[3] = {name: value * math.nan for name, value in history[3].items()}
    with pytest.raises(NonFiniteLossError, match="the loss target became inf in epoch 8, step 3"):
        averaged(history, epoch=7)


def test_a_total_that_overflows_from_finite_terms_is_named():
    history = [{"total": torch.tensor(-math.inf), "identity": torch.tensor(1e38)}]
    with pytest.raises(NonFiniteLossError, match="the loss total became -inf"):
        averaged(history, epoch=0)


def test_losses_of_an_epoch_are_means_over_its_steps():
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(5, 2, generator=generator)
    history = [{"total": row[0], "identity": row[1]} for row in rows]
    found = averaged(history, epoch=0)
    for name, column in (("total", 0), ("identity", 1)):
        by_hand = sum(row[column].item() for row in rows) / 5
        assert found[name] == pytest.approx(by_hand, rel=1e-6)


def test_features_broken_by_an_epochs_last_step_end_the_run(config_of):
    run = assemble(config_of({"optimiser.num_epochs": 2, "optimiser.steps_per_epoch": 1}))
    # Adam's first step divides by zero: the loss before it is finite, the weights after it are not.
    for group in run.optimiser.param_groups:
        group["eps"] = math.nan
    with pytest.raises(TrainingError, match="features of epoch 1 are NaN or infinite"):
        next(fit(run))
