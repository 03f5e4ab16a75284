"""A source stage is trained once and adapted to many targets, to the bit as in one run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.errors import CheckpointError, ConfigError
from daam.training.loop import fit
from daam.training.setup.assemble import Run, assemble
from daam.training.source_stage import taken_over
from daam.training.state import load_state_dict, state_dict
from tests.support.tiny_runs import same, tiny_config, untimed_metrics

SETTINGS = {
    "optimiser.num_epochs": 4,
    "loss.warmup_epochs": 2,
    "loss.ramp_epochs": 1,
    "model.weights": "none",
}


def config_of(root: Path, changes: dict[str, Any], *, preset: str = "daam_v2") -> RunConfig:
    return tiny_config(root, SETTINGS | changes, preset=preset)


def source_state(config: RunConfig) -> tuple[RunConfig, dict[str, Any]]:
    """What is left of a source run whose settings are otherwise those."""
    source = with_settings(config, {"stage": "source"})
    run = assemble(source)
    list(fit(run))
    return source, state_dict(run)


def continued(config: RunConfig, source: RunConfig, state: dict[str, Any]) -> Run:
    run = assemble(config)
    own = taken_over(config, state, then=source, where="runs/plaza-source")
    load_state_dict(run, own, where="runs/plaza-source")
    return run


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("daam_v2", {}),
        ("daam_v2", {"optimiser.warmup_epochs": 3.0, "optimiser.schedule": "cosine"}),
        ("daam_v2", {"loss.domain_similarity.kind": "gradient_reversal"}),
        ("daam_v1", {"loss.domain_similarity.kind": "soft_svdd"}),
        ("strong", {}),
        ("daam_v2", {"transfer": "plaza+station->campus"}),
    ],
)
def test_a_source_stage_of_another_target_then_adapted_is_one_run_to_the_bit(
    tiny_root, preset, changes
):
    config = config_of(tiny_root, {"transfer": "plaza->campus"} | changes, preset=preset)
    whole = assemble(config)
    expected = untimed_metrics(fit(whole))

    other = config_of(tiny_root, {"transfer": "plaza->station"} | changes, preset=preset)
    source, state = source_state(other)
    assert state["num_epochs_done"] == 2
    run = continued(config, source, state)
    assert untimed_metrics(fit(run)) == expected[2:]
    assert same(state_dict(run), state_dict(whole))


def test_settings_of_the_adaptation_may_differ_from_those_of_the_source_run(tiny_root):
    source, state = source_state(config_of(tiny_root, {"transfer": "plaza->station"}))
    changes = {
        "transfer": "plaza->campus",
        "loss.target.eps": 0.6,
        "loss.target.triplet_weight": 1.0,
        "loss.domain_similarity.weight": 2.0,
        "loss.ramp_epochs": 0,
        "data.target_batch_size": 4,
        "evaluation.flip": True,
        "optimiser.num_epochs": 5,
    }
    config = config_of(tiny_root, changes)
    whole = assemble(config)
    list(fit(whole))
    run = continued(config, source, state)
    list(fit(run))
    assert same(state_dict(run), state_dict(whole))


def test_a_shorter_source_stage_is_trained_to_its_end(tiny_root):
    source, state = source_state(config_of(tiny_root, {"loss.warmup_epochs": 1}))
    config = config_of(tiny_root, {})
    whole = assemble(config)
    list(fit(whole))
    run = continued(config, source, state)
    list(fit(run))
    assert same(state_dict(run), state_dict(whole))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 2}, "another source stage than this run would: seed;"),
        ({"loss.triplet.weight": 0.5}, r"loss\.triplet\.weight;"),
        ({"data.images_per_identity": 4}, r"data\.images_per_identity;"),
        ({"model.pooling": "gem"}, r"model\.pooling;"),
        ({"optimiser.steps_per_epoch": 3}, r"optimiser\.steps_per_epoch;"),
        (
            {"loss.domain_similarity.kind": "domain_confusion"},
            r"loss\.domain_similarity\.kind;",
        ),
        ({"teacher.embeds": True}, r"teacher\.labels or teacher\.embeds;"),
        ({"transfer": "campus->plaza"}, "was trained on plaza, and campus in .* has other images"),
        ({"loss.warmup_epochs": 1}, r"2 epochs on the source alone, .* set loss\.warmup_epochs=2"),
        (
            {"optimiser.learning_rate": 0.01},
            r"had a learning rate of 0\.00\d+ in epoch 1, and this run would have 0\.0\d+;",
        ),
        (
            {"optimiser.num_epochs": 3},  # half of 3 epochs lies in the second, and of 4 after it
            "had a learning rate of 0.001 in epoch 2, and this run would have 0.0001;",
        ),
    ],
)
def test_a_source_stage_that_this_run_would_not_have_is_refused_by_what_differs(
    tiny_root, changes, said
):
    source, state = source_state(config_of(tiny_root, {}))
    with pytest.raises(CheckpointError, match=f"^runs/plaza-source .*{said}"):
        taken_over(config_of(tiny_root, changes), state, then=source, where="runs/plaza-source")


def test_a_run_that_has_adapted_is_refused(tiny_root):
    config = config_of(tiny_root, {})
    run = assemble(config)
    list(fit(run))
    with pytest.raises(CheckpointError, match="adapted to campus: 4 epochs, of which 2 on the sou"):
        taken_over(config, state_dict(run), then=config, where="runs/plaza-campus")


def test_a_state_of_another_format_is_refused(tiny_root):
    source, state = source_state(config_of(tiny_root, {}))
    with pytest.raises(CheckpointError, match="has checkpoint format 2"):
        taken_over(config_of(tiny_root, {}), state | {"format": 2}, then=source, where="runs/x")


@pytest.mark.parametrize(
    ("preset", "changes"), [("source_only", {}), ("daam_v2", {"stage": "source"})]
)
def test_a_run_that_does_not_adapt_needs_no_source_run(tiny_root, preset, changes):
    source, state = source_state(config_of(tiny_root, {}))
    config = config_of(tiny_root, changes, preset=preset)
    with pytest.raises(ConfigError, match="there is nothing to start from runs/x"):
        taken_over(config, state, then=source, where="runs/x")


def test_windows_that_depend_on_the_targets_size_are_refused(tiny_root):
    source, state = source_state(config_of(tiny_root, {"transfer": "plaza->station"}))
    state["windows"] = (3, 2)
    with pytest.raises(CheckpointError, match=r"data\.cache_gb that holds both domains"):
        taken_over(config_of(tiny_root, {}), state, then=source, where="runs/x")


def test_a_source_stage_of_no_epoch_is_refused(tiny_root):
    with pytest.raises(ConfigError, match=r"stage = 'source' ends after loss\.warmup_epochs = 0"):
        config_of(tiny_root, {"stage": "source", "loss.warmup_epochs": 0})


def test_the_source_stage_ends_where_the_target_begins(tiny_root):
    _, state = source_state(config_of(tiny_root, {}))
    assert state["num_epochs_done"] == 2
    assert all(torch.isfinite(value).all() for value in state["network"].values())
