"""A run that was stopped goes on, to the bit, as if nothing had happened."""

import io
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from torchvision import models

from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.sampling.windows import ShardWindows
from daam.domains import WHOLE_TRAIN_SPLITS, Split
from daam.errors import CheckpointError
from daam.storage import open_store
from daam.training.loop import fit
from daam.training.setup.assemble import Run, assemble
from daam.training.setup.data import Windows
from daam.training.state import load_state_dict, state_dict, trained_network
from tests.support.tiny_domains import add_domain
from tests.support.tiny_runs import PRESETS, same, tiny_config, untimed_metrics, weights_of


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """What comes back of a state from a file; nothing but tensors and plain values may."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def trained(run: Run, *, num_epochs: int) -> list[dict[str, float]]:
    """Train some epochs, and leave the run as a process that dies would."""
    reports = fit(run)
    found = untimed_metrics(next(reports) for _ in range(num_epochs))
    reports.close()
    return found


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("num_warmup", "stopped_after"),
    [(1, 2), (2, 2), (2, 1), (0, 3)],
    ids=["after the warm-up", "where the warm-up ends", "in the warm-up", "without warm-up"],
)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    config_of, preset, num_warmup, stopped_after
):
    changes = {
        "loss.warmup_epochs": num_warmup,
        "loss.ramp_epochs": 1,
        "optimiser.num_epochs": 4,
    }
    config = config_of(changes, preset=preset)
    whole = assemble(config)
    expected = untimed_metrics(fit(whole))

    first = assemble(config)
    reports = trained(first, num_epochs=stopped_after)
    state = stored(state_dict(first))
    second = assemble(config)
    load_state_dict(second, state, where="memory")
    assert second.num_epochs_done == stopped_after
    reports += untimed_metrics(fit(second))

    assert reports == expected
    assert same(weights_of(second), weights_of(whole))
    assert same(second.optimiser.state_dict(), whole.optimiser.state_dict())
    assert same(second.memory.nominal_centre, whole.memory.nominal_centre)
    assert same(second.memory.nominal_spread, whole.memory.nominal_spread)
    assert same(second.memory.centres_KC, whole.memory.centres_KC)
    assert (whole.memory.nominal_centre is None) == (preset == "source_only")
    assert same(stored(state_dict(second)), stored(state_dict(whole)))


def test_a_run_can_be_resumed_after_every_epoch(config_of):
    config = config_of({"optimiser.num_epochs": 3})
    whole = assemble(config)
    expected = untimed_metrics(fit(whole))
    state, reports = None, []
    for _ in range(3):
        run = assemble(config)
        if state is not None:
            load_state_dict(run, state, where="memory")
        reports += trained(run, num_epochs=1)
        state = stored(state_dict(run))
    assert reports == expected
    assert state is not None
    assert same(state, stored(state_dict(whole)))


def test_the_state_says_of_which_run_it_is(config_of):
    run = assemble(config_of())
    state = state_dict(run)
    assert state["config"] == run.config.model_dump()
    assert (state["num_epochs_done"], state["num_identities"]) == (0, 12)
    assert state["nominal_centre"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"loss.triplet.weight": 0.5},
        {"seed": 9},
        {"optimiser.learning_rate": 0.01},
        {"data.augmentation.pad": 1},
        {"transfer": "campus->plaza"},
        {"loss.target.eps": 0.5, "evaluation.flip": True},
    ],
)
def test_a_state_of_other_settings_is_refused_by_their_names(config_of, changes):
    state = stored(state_dict(assemble(config_of())))
    run = assemble(config_of(changes))
    before = weights_of(run)
    with pytest.raises(CheckpointError) as caught:
        load_state_dict(run, state, where="runs/x/epoch-2.pt")
    names = ", ".join(sorted(changes))
    assert f"runs/x/epoch-2.pt is of a run with other settings: {names};" in str(caught.value)
    assert same(weights_of(run), before)


def test_a_state_that_knows_fewer_settings_is_refused_by_the_missing_name(config_of):
    run = assemble(config_of())
    state = stored(state_dict(run))
    del state["config"]["loss"]["triplet"]["margin"]
    with pytest.raises(CheckpointError, match=r"other settings: loss\.triplet\.margin;"):
        load_state_dict(run, state, where="memory")


@pytest.mark.parametrize("version", [0, 2, None])
def test_a_state_of_another_format_is_refused(config_of, version):
    run = assemble(config_of())
    state = state_dict(run) | {"format": version}
    if version is None:
        del state["format"]
    with pytest.raises(CheckpointError, match=f"has checkpoint format {version}, .* reads 3;"):
        load_state_dict(run, state, where="memory")


def test_a_run_may_go_on_elsewhere(config_of, domains, tmp_path):
    config = config_of({"optimiser.num_epochs": 3})
    whole = assemble(config)
    expected = untimed_metrics(fit(whole))
    first = assemble(config)
    reports = trained(first, num_epochs=2)
    moved = tmp_path / "moved"
    shutil.copytree(domains, moved)
    elsewhere = tiny_config(
        moved,
        {
            "optimiser.num_epochs": 3,
            "data.cache": str(tmp_path / "another"),
            "data.cache_gb": 3.0,
            "data.num_threads": 3,
            "compute.num_workers": 2,
            "compute.max_failures": 7,
        },
    )
    second = assemble(elsewhere)
    load_state_dict(second, stored(state_dict(first)), where="memory")
    assert reports + untimed_metrics(fit(second)) == expected
    assert same(weights_of(second), weights_of(whole))


@pytest.mark.parametrize("name", ["cache_kind", "root_of_something", "num_threads_of_something"])
def test_a_setting_is_not_replaceable_because_its_name_begins_like_one(config_of, name):
    run = assemble(config_of())
    state = stored(state_dict(run))
    state["config"]["data"][name] = 1
    with pytest.raises(CheckpointError, match=rf"other settings: data\.{name};"):
        load_state_dict(run, state, where="memory")


def test_a_run_cannot_go_on_with_other_windows(config_of):
    def run_with_windows(shards_per_window: int) -> Run:
        run = assemble(config_of())
        windows = ShardWindows(
            [range(18 * at, 18 * (at + 1)) for at in range(4)],
            shards_per_window=shards_per_window,
            batch_size=8,
            seed=0,
        )
        run.windows = Windows(source=windows)
        return run

    state = stored(state_dict(run_with_windows(2)))
    load_state_dict(run_with_windows(2), state, where="memory")
    for other, said in (
        (run_with_windows(1), "4 windows of the source and all rows of the target"),
        (run_with_windows(4), "1 windows of the source"),
        (assemble(config_of()), "all rows of the source"),
    ):
        before = weights_of(other)
        with pytest.raises(
            CheckpointError,
            match=rf"drew batches from 2 windows .* would draw them from {said}.*data\.cache_gb=",
        ):
            load_state_dict(other, state, where="memory")
        assert same(weights_of(other), before)


@pytest.mark.parametrize("domain", ["plaza", "campus"])
def test_a_run_cannot_go_on_with_another_import_of_a_domain(config_of, domains, tmp_path, domain):
    state = stored(state_dict(assemble(config_of())))
    root = tmp_path / "store"
    shutil.copytree(domains, root)
    # The same images, in another order.
    index = read_layout("market1501", domains.parent / domain)
    import_domain(index, domain=domain, to=open_store(str(root)), validation_share=0.5)
    run = assemble(tiny_config(root))
    assert run.source.num_identities == state["num_identities"]
    before = weights_of(run)
    with pytest.raises(
        CheckpointError, match=f"trained on another import of {domain} than the one in {root}"
    ):
        load_state_dict(run, state, where="memory")
    assert same(weights_of(run), before)


def test_a_run_goes_on_with_the_same_import_made_again(config_of, domains, tmp_path):
    state = stored(state_dict(assemble(config_of())))
    for domain in ("plaza", "campus"):
        add_domain(open_store(str(tmp_path / "store")), domain, scratch=tmp_path)
    run = assemble(tiny_config(tmp_path / "store"))
    load_state_dict(run, state, where="memory")
    assert run.num_epochs_done == 0


def test_other_labels_of_the_target_are_no_other_data(config_of):
    run = assemble(config_of())
    manifest, splits = run.target.manifest, WHOLE_TRAIN_SPLITS
    others = dict(manifest.splits)
    train = others[Split.TRAIN]
    others[Split.TRAIN] = replace(train, labels=replace(train.labels, sha256="0" * 64))
    relabelled = replace(manifest, splits=others)
    assert relabelled.digest(splits, with_labels=False) == run.target.digest
    assert relabelled.digest(splits, with_labels=True) != manifest.digest(splits, with_labels=True)


def test_a_trained_network_needs_no_file_of_initial_weights(config_of, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(models.resnet18().state_dict(), path)
    config = config_of({"model.backbone": "resnet18", "model.weights": str(path)})
    run = assemble(config)
    state = stored(state_dict(run))
    path.unlink()
    assert same(
        trained_network(config, state, where="the run").state_dict(), run.network.state_dict()
    )
