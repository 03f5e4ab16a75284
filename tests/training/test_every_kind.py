"""Every kind of every part, alone and together: trains, and goes on to the bit."""

import math

import pytest

from daam.storage import open_store
from daam.training.loop import fit
from daam.training.setup.assemble import assemble
from daam.training.state import load_state_dict, state_dict
from tests.support.tiny_domains import add_domain
from tests.support.tiny_runs import numbers_of, same, untimed_metrics, weights_of

KINDS = {
    "channel": {"model.attention.kind": "channel"},
    "spatial": {"model.attention.kind": "spatial"},
    "full": {"model.attention.kind": "full"},
    "before the last stage": {"model.attention.placement": "before_last"},
    "domain-specific norm": {"model.norm": "domain_specific"},
    "gem": {"model.pooling": "gem"},
    "nominal_classifier": {"loss.domain_similarity.kind": "nominal_classifier"},
    "soft_svdd": {"loss.domain_similarity.kind": "soft_svdd"},
    "domain_confusion": {"loss.domain_similarity.kind": "domain_confusion"},
    "gradient_reversal": {"loss.domain_similarity.kind": "gradient_reversal"},
    "nominal_moment on b": {"loss.domain_similarity.embedding": "bottleneck"},
    "gradient_reversal on b": {
        "loss.domain_similarity.kind": "gradient_reversal",
        "loss.domain_similarity.embedding": "bottleneck",
    },
    "source triplets on b": {"loss.triplet.embedding": "bottleneck"},
    "exemplar": {"loss.target.kind": "exemplar", "loss.target.exemplar_lone_epochs": 1},
    "cluster_triplet": {"loss.target.kind": "cluster_triplet"},
    "cluster_triplet on g": {
        "loss.target.kind": "cluster_triplet",
        "loss.target.triplet_embedding": "pooled",
    },
    "triplets beside": {"loss.target.triplet_weight": 1.0},
    "teacher": {"teacher.labels": True, "teacher.embeds": True},
    "everything": {
        "model.norm": "domain_specific",
        "model.pooling": "gem",
        "model.attention.kind": "full",
        "model.attention.placement": "before_last",
        "loss.domain_similarity.kind": "domain_confusion",
        "loss.domain_similarity.embedding": "bottleneck",
        "loss.triplet.embedding": "bottleneck",
        "loss.target.triplet_weight": 1.0,
        "loss.target.triplet_embedding": "pooled",
        "evaluation.embedding": "pooled",
        "teacher.labels": True,
        "teacher.embeds": True,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_trains_and_goes_on_to_the_bit(config_of, kind):
    config = config_of({"optimiser.num_epochs": 3, **KINDS[kind]})
    whole = assemble(config)
    expected = untimed_metrics(fit(whole))
    assert all(math.isfinite(value) for report in expected for value in numbers_of(report))

    first = assemble(config)
    reports = fit(first)
    for _ in range(2):
        next(reports)
    state = state_dict(first)
    reports.close()
    second = assemble(config)
    load_state_dict(second, state, where="memory")
    assert same(untimed_metrics(fit(second)), expected[2:])
    assert same(state_dict(second), state_dict(whole))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_not_the_default(config_of, kind):
    plain, changed = (
        assemble(config_of({"optimiser.num_epochs": 2, **changes})) for changes in ({}, KINDS[kind])
    )
    # A part more takes random numbers from the parts made after it: these begin alike here.
    begin, own = weights_of(plain), weights_of(changed)
    alike = {name for name in begin.keys() & own.keys() if begin[name].shape == own[name].shape}
    changed.network.load_state_dict({name: begin[name] for name in alike}, strict=False)
    for run in (plain, changed):
        for _ in fit(run):
            continue
    if kind == "teacher":  # the only difference may be in what is tested
        assert changed.embedder is changed.teacher
        assert changed.embedder is not changed.network
    else:
        first = next(name for name, _ in plain.network.backbone.named_parameters())
        one, other = (run.network.backbone.get_parameter(first) for run in (plain, changed))
        assert (one - other).abs().mean() > 1e-8  # other rounding alone makes less than 1e-9


def test_the_teacher_is_an_average_of_the_networks_it_saw(config_of):
    run = assemble(config_of({"teacher.embeds": True, "optimiser.steps_per_epoch": 1}))
    assert run.teacher is not None
    expected = weights_of(run)
    for step, _ in enumerate(fit(run)):
        momentum = min(0.999, (1 + step) / (10 + step))
        now = weights_of(run)
        names = {name for name, _ in run.network.named_parameters()}
        for name in names:
            expected[name] = momentum * expected[name] + (1 - momentum) * now[name]
    for name, weight in run.teacher.named_parameters():
        assert not weight.requires_grad
        assert weight.detach().allclose(expected[name], atol=1e-6), name
    for name, buffer in run.teacher.named_buffers():
        assert buffer.equal(dict(run.network.named_buffers())[name]), name


def test_the_ceiling_learns_the_targets_own_people_and_not_those_held_out(config_of):
    whole = assemble(config_of(preset="supervised_target"))
    held = assemble(config_of({"evaluation.hold_out": True}, preset="supervised_target"))
    assert held.source.num_identities < whole.source.num_identities
    assert held.source.reader.num_rows == held.target.reader.num_rows
    assert all(
        math.isfinite(value)
        for report in untimed_metrics(fit(whole))
        for value in numbers_of(report)
    )


def test_the_ceiling_needs_no_source(config_of, tmp_path):
    config = config_of({"data.root": str(tmp_path / "store")}, preset="supervised_target")
    add_domain(open_store(config.data.root), "campus", scratch=tmp_path)
    assert config.domains() == ("campus",)
    assert len(untimed_metrics(fit(assemble(config)))) == 2
