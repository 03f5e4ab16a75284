"""Settings become the parts of a run, and the schedules they name."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from daam.config.load import nested, run_config
from daam.config.schema import RunConfig
from daam.dataset.pixels.reader import PixelReader, Pixels
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities, read_names
from daam.domains import WHOLE_TRAIN_SPLITS, Split
from daam.errors import ShardError, TrainingError
from daam.model.attention import FactorisedAttention
from daam.storage import open_store
from daam.training.schedule import learning_rate_at, weights_at
from daam.training.setup.assemble import assemble
from daam.training.setup.data import manifest_of, shard_cache
from daam.training.setup.network import build_network
from tests.support.known import known
from tests.support.tiny_runs import same, weights_of


def pixels_of(config: RunConfig, *, domain: str, splits: tuple[Split, ...]) -> torch.Tensor:
    images = open_images(
        open_store(config.data.root),
        manifest=manifest_of(config, domain),
        splits=splits,
        cache=shard_cache(config),
    )
    reader = PixelReader(images, height=config.data.height, width=config.data.width)
    return reader.read(np.arange(reader.num_rows))


def all_pixels(reader: Pixels) -> torch.Tensor:
    return reader.read(np.arange(reader.num_rows))


def test_identities_of_the_source_are_counted_from_0_in_their_order(config_of):
    config = config_of()
    source = assemble(config).source
    where = {
        "manifest": manifest_of(config, source.domain),
        "splits": WHOLE_TRAIN_SPLITS,
        "cache": shard_cache(config),
    }
    store = open_store(config.data.root)
    original = read_identities(store, **where)
    assert source.num_identities == 12
    people = sorted(set(original.tolist()))
    assert source.identities.tolist() == [people.index(identity) for identity in original.tolist()]
    cameras = [int(name.partition("_c")[2][0]) for name in read_names(store, **where)]
    assert known(source.cameras).tolist() == cameras
    assert torch.equal(
        all_pixels(source.reader), pixels_of(config, domain="plaza", splits=WHOLE_TRAIN_SPLITS)
    )


def test_people_held_out_of_the_target_are_not_trained_on(config_of):
    config = config_of({"evaluation.hold_out": True})
    seen = all_pixels(assemble(config).target.reader)
    assert torch.equal(seen, pixels_of(config, domain="campus", splits=(Split.TRAIN,)))
    held_out = pixels_of(
        config,
        domain="campus",
        splits=(Split.VALIDATION_QUERY, Split.VALIDATION_GALLERY),
    )
    assert (len(seen), len(held_out)) == (54, 18)
    known = {image.numpy().tobytes() for image in seen}
    assert not any(image.numpy().tobytes() in known for image in held_out)


def test_without_holding_out_the_whole_train_split_of_the_target_is_used(config_of):
    config = config_of()
    target = assemble(config).target
    whole = pixels_of(config, domain="campus", splits=WHOLE_TRAIN_SPLITS)
    assert torch.equal(all_pixels(target.reader), whole)
    assert len(known(target.cameras)) == len(whole) == 72


def test_holding_out_changes_nothing_of_the_source(config_of):
    run = assemble(config_of({"evaluation.hold_out": True}))
    assert run.source.reader.num_rows == 72


def test_weights_begin_as_the_seed_says(config_of):
    torch.manual_seed(5)
    one = assemble(config_of())
    torch.manual_seed(6)
    again, other = assemble(config_of()), assemble(config_of({"seed": 2}))
    assert same(weights_of(one), weights_of(again))
    assert not same(weights_of(one), weights_of(other))


def test_settings_reach_the_parts(config_of):
    run = assemble(
        config_of(
            {
                "model.attention.temperature": 2.0,
                "model.attention.initial_bias": -1.0,
                "model.attention.kernel": 5,
                "loss.triplet.margin": 0.7,
                "loss.identity.label_smoothing": 0.2,
                "loss.domain_similarity.spread_weight": 3.0,
                "loss.domain_similarity.momentum": 0.8,
                "loss.target.temperature": 0.11,
                "loss.target.target_temperature": 0.12,
                "loss.target.softness": 0.4,
                "loss.target.momentum": 0.6,
                "data.augmentation.contrast": 0.3,
                "optimiser.weight_decay": 0.01,
            }
        )
    )
    attention, objective = run.network.attention, run.objective
    assert isinstance(attention, FactorisedAttention)
    assert (attention.temperature, attention.bias.item()) == (2.0, -1.0)
    assert attention.spatial.kernel_size == (5, 5)
    assert attention.squeeze.out_features == 32  # 128 / 4
    assert (objective.triplet_margin, objective.label_smoothing) == (0.7, 0.2)
    assert (objective.nominal_spread_weight, objective.nominal_momentum) == (3.0, 0.8)
    assert (objective.target_temperature, objective.soft_target_temperature) == (0.11, 0.12)
    assert (objective.target_softness, objective.centre_momentum) == (0.4, 0.6)
    assert run.augmentation.contrast == 0.3
    assert run.optimiser.param_groups[0]["weight_decay"] == 0.01
    assert run.network.shared.classifier.out_features == 12


def test_the_optimiser_has_every_weight_that_learns_and_no_other(config_of):
    run = assemble(config_of())
    held = {id(weight) for group in run.optimiser.param_groups for weight in group["params"]}
    learning = {id(weight) for weight in run.network.parameters() if weight.requires_grad}
    assert held == learning
    assert id(run.network.shared.bottleneck.bias) not in held


@pytest.mark.parametrize(("backbone", "num_channels"), [("tiny", 128), ("resnet18", 512)])
def test_the_network_is_the_one_named(config_of, backbone, num_channels):
    network = build_network(config_of({"model.backbone": backbone}), num_identities=5)
    assert network.shared.classifier.weight.shape == (5, num_channels)
    assert network.attention is not None
    without = build_network(config_of(preset="source_only"), num_identities=5)
    assert without.attention is without.specific is None


def test_a_domain_that_is_not_there_is_named(config_of):
    with pytest.raises(ShardError, match="has no domain nowhere"):
        assemble(config_of({"transfer": "plaza->nowhere"}))


def test_decoding_on_a_gpu_needs_a_run_on_one_before_the_data_is_opened(config_of):
    config = config_of(
        {"data.decode": "cuda", "compute.device": "cpu", "transfer": "plaza->nowhere"}
    )
    with pytest.raises(TrainingError, match="decode is cuda and the run computes on the cpu"):
        assemble(config)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed_before_the_data_is_opened(config_of):
    with pytest.raises(TrainingError, match="finds no GPU"):
        assemble(config_of({"compute.device": "cuda", "transfer": "plaza->nowhere"}))


def schedule(**changes: object) -> RunConfig:
    return run_config(nested({name.replace("__", "."): value for name, value in changes.items()}))


@pytest.mark.parametrize(
    ("num_warmup", "num_ramp", "shares"),
    [
        (2, 2, [0, 0, 1 / 3, 2 / 3, 1, 1, 1]),
        (0, 0, [1, 1, 1]),
        (3, 0, [0, 0, 0, 1, 1]),
        (0, 3, [1 / 4, 2 / 4, 3 / 4, 1, 1]),
    ],
)
def test_weights_are_nothing_in_the_warm_up_then_rise_to_full(num_warmup, num_ramp, shares):
    config = schedule(
        loss__warmup_epochs=num_warmup,
        loss__ramp_epochs=num_ramp,
        loss__triplet__weight=2.0,
        loss__domain_similarity__weight=5.0,
        loss__domain_classification__weight=0.1,
        loss__target__weight=0.5,
    )
    for epoch, share in enumerate(shares):
        weights = weights_at(config, epoch=epoch)
        assert weights.triplet == 2.0  # the source's own losses count from the start
        assert weights.domain_similarity == pytest.approx(5.0 * share)
        assert weights.domain_classification == pytest.approx(0.1 * share)
        assert weights.target == pytest.approx(0.5 * share)
        assert weights.need_target is (share > 0)


def test_a_loss_of_no_kind_has_no_weight():
    config = schedule(
        loss__target__kind="none",
        loss__domain_similarity__kind="none",
        loss__domain_classification__weight=0.0,
    )
    for epoch in range(6):
        weights = weights_at(config, epoch=epoch)
        assert (weights.domain_similarity, weights.target) == (0, 0)
        assert not weights.need_target


def rate_by_hand(config: RunConfig, step: int) -> float:
    optimiser = config.optimiser
    peak = optimiser.learning_rate
    num_warmup = optimiser.warmup_epochs * optimiser.steps_per_epoch
    num_steps = optimiser.num_epochs * optimiser.steps_per_epoch
    if step + 1 < num_warmup:
        return peak * (step + 1) / num_warmup
    if optimiser.schedule == "step":
        rate = peak
        for share in (0.5, 0.8):
            if step >= share * num_steps:
                rate *= 0.1
        return rate
    angle = math.pi * max(0.0, (step - num_warmup) / (num_steps - num_warmup))
    return peak * (1 + math.cos(angle)) / 2


@pytest.mark.parametrize("kind", ["step", "cosine"])
@pytest.mark.parametrize("num_warmup", [0.0, 0.5, 2.0, 7.0])
def test_the_learning_rate_matches_the_loop(kind, num_warmup):
    config = schedule(
        optimiser__schedule=kind,
        optimiser__warmup_epochs=num_warmup,
        optimiser__num_epochs=10,
        optimiser__steps_per_epoch=6,
        optimiser__learning_rate=0.01,
    )
    rates = [learning_rate_at(config, step=step) for step in range(60)]
    assert rates == pytest.approx([rate_by_hand(config, step) for step in range(60)], rel=1e-9)
    assert 0 < min(rates) < max(rates) <= 0.01


def test_steps_are_a_tenth_at_half_and_a_hundredth_at_four_fifths():
    config = schedule(
        optimiser__warmup_epochs=0.0,
        optimiser__num_epochs=10,
        optimiser__steps_per_epoch=10,
        optimiser__learning_rate=1.0,
    )
    at = {step: learning_rate_at(config, step=step) for step in (0, 49, 50, 79, 80, 99)}
    assert at == pytest.approx({0: 1, 49: 1, 50: 0.1, 79: 0.1, 80: 0.01, 99: 0.01})


def test_a_cosine_ends_near_zero_and_falls_all_the_way():
    config = schedule(
        optimiser__schedule="cosine",
        optimiser__warmup_epochs=1.0,
        optimiser__num_epochs=4,
        optimiser__steps_per_epoch=25,
        optimiser__learning_rate=1.0,
    )
    rates = [learning_rate_at(config, step=step) for step in range(100)]
    assert rates[24] == 1
    assert all(later < earlier for earlier, later in pairwise(rates[25:]))
    assert 0 < rates[-1] < 1e-3


@pytest.mark.parametrize("kind", ["step", "cosine"])
def test_a_warm_up_may_be_as_long_as_the_run(kind):
    num_warmup = 4.0
    config = schedule(
        optimiser__schedule=kind,
        optimiser__warmup_epochs=num_warmup,
        optimiser__num_epochs=4,
        optimiser__steps_per_epoch=5,
        optimiser__learning_rate=1.0,
    )
    rates = [learning_rate_at(config, step=step) for step in range(19)]
    assert rates == pytest.approx([(step + 1) / (5 * num_warmup) for step in range(19)])
    last = learning_rate_at(config, step=19)
    assert last == pytest.approx(0.01 if kind == "step" else 1.0)
