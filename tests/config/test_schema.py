"""The settings of a run: described, immutable, in agreement with each other."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from daam.config.agreement import usable_workers
from daam.config.load import nested, run_config
from daam.config.schema import RunConfig
from daam.config.section import Section
from daam.domains import Transfer
from daam.errors import ConfigError


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields_of(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def sections_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from sections_of(kind)


FIELDS = list(fields_of(RunConfig))


@pytest.mark.parametrize(("path", "field"), FIELDS, ids=[path for path, _ in FIELDS])
def test_every_setting_has_a_description_and_a_default(path, field):
    assert field.description
    assert len(field.description) >= 8
    assert not field.is_required()


def test_every_table_of_settings_is_strict_frozen_and_described():
    for section in sections_of(RunConfig):
        assert issubclass(section, Section)
        assert section.__doc__
        rules = section.model_config
        assert (rules.get("frozen"), rules.get("strict"), rules.get("extra")) == (
            True,
            True,
            "forbid",
        )


def test_the_defaults_are_valid_settings():
    assert RunConfig.model_validate(RunConfig().model_dump()) == RunConfig()


def test_settings_cannot_be_changed_once_read():
    config = RunConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.loss.triplet.weight = 3.0


def test_the_transfer_is_a_source_and_a_target():
    assert run_config({"transfer": "a -> b"}).pair() == Transfer(("a",), "b")
    several = run_config({"transfer": "a + b->c"}).pair()
    assert (several.sources, several.target, str(several)) == (("a", "b"), "c", "a+b->c")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"transfer": "plaza->plaza"}, "the same source and target"),
        ({"transfer": "plaza+campus->campus"}, "the same source and target"),
        ({"transfer": "plaza+plaza->campus"}, "names a source twice"),
        ({"transfer": "plaza+->campus"}, "is not of the form source->target"),
        ({"transfer": "plaza->campus+station"}, "domain 'campus+station' is not a domain name"),
        ({"transfer": "plaza"}, "not of the form source->target"),
        ({"transfer": "plaza->Campus!"}, "'Campus!' is not a domain name"),
        (
            {"model.attention.kind": "none"},
            "loss.domain_classification.weight > 0 needs a specific branch",
        ),
        (
            {
                "model.attention.kind": "none",
                "loss.domain_classification.weight": 0.0,
                "loss.domain_similarity.kind": "nominal_classifier",
            },
            "loss.domain_similarity.kind = 'nominal_classifier' needs a specific branch",
        ),
        (
            {
                "model.attention.kind": "none",
                "model.attention.placement": "before_last",
                "loss.domain_classification.weight": 0.0,
            },
            "model.attention.placement = 'before_last' has no effect",
        ),
        (
            {
                "model.norm": "domain_specific",
                "loss.domain_similarity.embedding": "bottleneck",
            },
            "loss.domain_similarity.embedding = 'bottleneck' leaves nominal_moment without effect",
        ),
        ({"data.oracle_labels": True}, "data.oracle_labels = true leaves no unlabelled domain"),
        (
            {"loss.target.kind": "exemplar", "loss.target.triplet_weight": 1.0},
            "loss.target.triplet_weight adds triplets to loss.target.kind = 'soft_label'",
        ),
        (
            {"loss.target.kind": "exemplar", "teacher.labels": True},
            "teacher.labels = true has no groups to make",
        ),
        (
            {"data.identities_per_batch": 9, "compute.num_workers": 2},
            "data.identities_per_batch = 9 cannot be divided among compute.num_workers = 2",
        ),
        (
            {"data.target_batch_size": 66, "compute.num_workers": 4},
            "data.target_batch_size = 66 cannot be divided among compute.num_workers = 4",
        ),
        (
            {"compute.num_workers": 2, "compute.min_workers": 4},
            "compute.min_workers = 4 is more than compute.num_workers = 2",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, complaint):
    with pytest.raises(ConfigError) as caught:
        run_config(nested(settings))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("target_batch_size", [2, 10])
def test_target_batches_that_cannot_hold_whole_groups_on_every_worker_are_refused(
    num_workers, target_batch_size
):
    settings = {
        "data.target_batch_size": target_batch_size,
        "data.images_per_identity": 4,
        "compute.num_workers": num_workers,
    }
    with pytest.raises(ConfigError, match=r"data\.images_per_identity = 4"):
        run_config(nested(settings))
    without_groups = run_config(nested({**settings, "loss.target.kind": "none"}))
    assert without_groups.data.target_batch_size == target_batch_size


def test_weights_for_a_network_that_takes_none_are_refused():
    settings = {"model.backbone": "tiny", "model.weights": "reid.pt"}
    with pytest.raises(ConfigError, match=r"model\.weights = 'reid\.pt'"):
        run_config(nested(settings))
    for without_file in ("none", "imagenet"):
        run_config(nested({**settings, "model.weights": without_file}))


def test_attention_may_be_left_out_with_what_needs_it():
    config = run_config(
        nested({"model.attention.kind": "none", "loss.domain_classification.weight": 0.0})
    )
    assert config.loss.uses_target


@pytest.mark.parametrize(
    ("similarity", "classification", "target", "uses"),
    [
        ("none", 0.0, "none", False),
        ("nominal_moment", 0.0, "none", True),
        ("none", 0.1, "none", True),
        ("none", 0.0, "soft_label", True),
    ],
)
def test_the_target_is_used_if_any_loss_looks_at_it(similarity, classification, target, uses):
    config = run_config(
        nested(
            {
                "loss.domain_similarity.kind": similarity,
                "loss.domain_classification.weight": classification,
                "loss.target.kind": target,
            }
        )
    )
    assert config.loss.uses_target is uses


NO_WEIGHTS = {
    "loss.domain_similarity.weight": 0.0,
    "loss.domain_classification.weight": 0.0,
    "loss.target.weight": 0.0,
}


def test_a_loss_of_weight_0_does_not_look_at_the_target():
    assert not run_config(nested(NO_WEIGHTS)).loss.uses_target
    for path in NO_WEIGHTS:
        assert run_config(nested({**NO_WEIGHTS, path: 1.0})).loss.uses_target, path


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({**NO_WEIGHTS, "model.norm": "domain_specific"}, "would never see a target image"),
        ({"loss.target.weight": 0.0, "teacher.labels": True}, r"loss\.target\.weight = 0"),
    ],
)
def test_what_needs_the_target_needs_a_loss_with_a_weight(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        run_config(nested(settings))


@pytest.mark.parametrize(
    ("settings", "without", "complaint"),
    [
        (
            {"compute.num_workers": 16, "data.target_batch_size": 128},
            {"loss.triplet.weight": 0.0},
            r"loss\.triplet\.weight > 0 .* data\.identities_per_batch = 16",
        ),
        (
            {"loss.target.kind": "cluster_triplet", "data.target_batch_size": 4},
            {"loss.target.kind": "soft_label"},
            r"cluster_triplet' .* data\.target_batch_size = 4",
        ),
        (
            {"loss.target.triplet_weight": 1.0, "compute.num_workers": 8}
            | {"data.target_batch_size": 32},
            {"loss.target.triplet_weight": 0.0},
            r"triplet_weight > 0 .* data\.target_batch_size = 32",
        ),
    ],
)
def test_triplets_of_one_person_on_a_worker_are_refused(settings, without, complaint):
    with pytest.raises(ConfigError, match=complaint):
        run_config(nested(settings))
    run_config(nested(settings | without))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"data": {"width": 8, "augmentation": {"pad": 8}}}, "data.augmentation.pad = 8"),
        ({"optimiser": {"num_epochs": 5}}, "optimiser.warmup_epochs = 10"),
        ({"optimiser": {"num_epochs": 2, "warmup_epochs": 1}}, "loss.warmup_epochs = 2"),
    ],
)
def test_settings_that_could_never_take_effect_are_refused(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        run_config(settings)


@pytest.mark.parametrize(("num_started", "used"), [(1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8)])
def test_batches_are_divided_among_as_many_workers_as_they_can_be(num_started, used):
    config = run_config(nested({"data.identities_per_batch": 16, "data.target_batch_size": 32}))
    assert usable_workers(config, num_started=num_started) == used
