"""A study is checked to its last corner before anything runs."""

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from daam.config.load import (
    flat,
    parse_settings,
    read_packaged_toml,
    read_preset,
    with_settings,
)
from daam.domains import Split
from daam.errors import ConfigError
from tune.proposals.space import combinations
from tune.settings import StudyConfig, adapting, study_config

STUDY = {"search_transfers": ["plaza->campus", "campus->plaza"], "holdout": "plaza->station"}
WEIGHT = "loss.domain_similarity.weight"
ADAPTING = {"demo": {}, "adapt": adapting("market->mine", score="label_free")}


def a_study(
    search: dict[str, Any], *, settings: list[str] | None = None, **study: Any
) -> StudyConfig:
    tree = {"study": STUDY | study, "search": search}
    return study_config(tree, parse_settings(settings or []))


def test_ranges_and_choices_become_distributions() -> None:
    config = a_study(
        {
            WEIGHT: {"low": 0.5, "high": 50.0, "log": True},
            "optimiser.weight_decay": {"low": 0, "high": 0.01},
            "loss.target.eps": {"low": 0.3, "high": 0.6, "step": 0.1},
            "loss.target.num_neighbours": {"low": 10, "high": 40},
            "loss.target.num_expansion": {"low": 2, "high": 8, "step": 2},
            "model.attention.reduction": [4, 8, 16],
        }
    )
    assert config.distributions() == {
        WEIGHT: FloatDistribution(0.5, 50.0, log=True),
        "optimiser.weight_decay": FloatDistribution(0, 0.01),
        "loss.target.eps": FloatDistribution(0.3, 0.6, step=0.1),
        "loss.target.num_neighbours": IntDistribution(10, 40),
        "loss.target.num_expansion": IntDistribution(2, 8, step=2),
        "model.attention.reduction": CategoricalDistribution([4, 8, 16]),
    }


@pytest.mark.parametrize(
    ("spec", "end"),
    [
        ({"low": -1.0, "high": 5.0}, "-1.0"),
        ({"low": 1.0, "high": 2000.0}, "2000.0"),
        ([1.0, 5.0, 4000.0], "4000.0"),
        ({"choices": [5.0, 4000.0]}, "4000.0"),
    ],
    ids=["lower end", "upper end", "choice", "choice in a table"],
)
def test_every_end_and_choice_must_be_allowed(spec: Any, end: str) -> None:
    with pytest.raises(ConfigError) as caught:
        a_study({WEIGHT: spec})
    assert f"[search] {WEIGHT}, at {end}:" in str(caught.value)


def test_a_range_may_not_contradict_another_setting() -> None:
    with pytest.raises(ConfigError, match="needs a specific branch"):
        a_study({"model.attention.kind": ["factorised", "none"]})


def test_an_unknown_path_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=f"did you mean {WEIGHT}"):
        a_study({"loss.domain_similarty.weight": {"low": 1.0, "high": 2.0}})


@pytest.mark.parametrize(
    "spec",
    [
        3,
        {"low": 1.0},
        {"low": 1.0, "high": 2.0, "max": 3.0},
        {"low": 2.0, "high": 1.0},
        {"low": 0.0, "high": 1.0, "log": True},
        {"low": "a", "high": "b"},
        {"low": 5.0, "high": 5.0},
        {"low": 1.0, "high": float("inf")},
        {"low": 1.0, "high": 9.0, "log": "yes"},
        {"low": 1.0, "high": 9.0, "log": True, "step": 1.0},
        {"low": 1.0, "high": 9.0, "step": 0},
        {"low": 1.0, "high": 9.0, "step": 3.0},
        {"low": True, "high": 9.0},
        {"choices": [1.0, 5.0], "low": 1.0},
        {"choices": 5.0},
        [],
        [[1], [2]],
        [5.0, 9.0, 5.0],
        [1, 5.0, 1.0],
    ],
)
def test_what_is_no_range_is_refused(spec: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[search\] loss\.domain_similarity\.weight"):
        a_study({WEIGHT: spec})


@pytest.mark.parametrize("name", ["study", "search"])
def test_what_is_no_table_is_refused(name: str) -> None:
    tree: dict[str, Any] = {"study": STUDY, "search": {WEIGHT: [1.0]}}
    with pytest.raises(ConfigError, match=rf"write it as a table, \[{name}\]"):
        study_config(tree | {name: 3}, {})


def test_an_empty_search_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to tune"):
        a_study({})


@pytest.mark.parametrize(
    "path",
    [
        "transfer",
        "seed",
        "data.root",
        "data.oracle_labels",
        "compute.num_workers",
        "evaluation.hold_out",
    ],
)
def test_the_task_itself_is_not_searched(path: str) -> None:
    with pytest.raises(ConfigError, match="part of the task"):
        a_study({path: ["a", "b"]})


def test_a_search_does_not_train_on_the_labels_of_its_targets() -> None:
    search = {"optimiser.learning_rate": [1e-3, 3.5e-4]}
    tree = {"study": STUDY, "search": search, **read_preset("supervised_target")}
    with pytest.raises(ConfigError, match="the target's own labels"):
        study_config(tree, {})


@pytest.mark.parametrize("search", ["plaza->station", "station->plaza"])
def test_the_holdouts_target_is_in_no_search_transfer(search: str) -> None:
    with pytest.raises(ConfigError, match="share the domain station"):
        a_study({WEIGHT: [1.0]}, search_transfers=["plaza->campus", search])


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ({"holdout": "plaza->plaza"}, "same source and target"),
        ({"holdout": "plaza"}, "not of the form source->target"),
        ({"search_transfers": ["plaza-campus"]}, "not of the form source->target"),
        ({"search_transfers": ["plaza->campus", "plaza->campus"]}, "twice"),
        ({"search_transfers": []}, "search_transfers"),
        ({"num_trials": 0}, "num_trials"),
        ({"name": "../up"}, "name"),
        ({"nmu_trials": 3}, "did you mean num_trials"),
    ],
)
def test_a_study_that_cannot_be_is_refused(study: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        a_study({WEIGHT: [1.0]}, **study)


def test_every_source_of_a_transfer_is_needed_and_may_not_be_the_holdouts_target() -> None:
    several = {WEIGHT: {"low": 0.5, "high": 50.0}}
    config = a_study(several, search_transfers=["plaza+market->campus"])
    needed = config.needed_splits()
    assert needed["plaza"] == needed["market"] == {Split.TRAIN}
    with pytest.raises(ConfigError, match="share the domain station"):
        a_study(several, search_transfers=["plaza+station->campus"])


def test_a_study_of_the_source_stage_alone_is_refused() -> None:
    search = {WEIGHT: {"low": 0.5, "high": 50.0}}
    with pytest.raises(ConfigError, match="stage = 'source' ends before the adaptation"):
        a_study(search, settings=["stage=source"])


def test_a_setting_that_the_command_line_fixes_is_not_searched() -> None:
    search = {WEIGHT: {"low": 1.0, "high": 2.0}, "optimiser.learning_rate": [3.5e-4, 1e-2]}
    config = a_study(search, settings=[f"{WEIGHT}=3"])
    assert list(config.search) == ["optimiser.learning_rate"]
    assert config.run.loss.domain_similarity.weight == 3


def test_the_command_line_can_change_a_range_and_the_study() -> None:
    config = a_study(
        {WEIGHT: {"low": 1.0, "high": 2.0}},
        settings=[f"search.{WEIGHT}={{low = 3.0, high = 6.0}}", "study.num_trials=4"],
    )
    assert config.distributions() == {WEIGHT: FloatDistribution(3.0, 6.0)}
    assert config.study.num_trials == 4


@pytest.mark.parametrize("name", ["demo", "adapt"])
def test_the_studies_that_come_with_daam_start_from_the_default_and_the_strongest_preset(
    name: str,
) -> None:
    config = study_config(read_packaged_toml("tune", "spaces", name), ADAPTING[name])
    assert config.study.name == name
    default, strong = config.starting_points()
    assert with_settings(config.run, default) == config.run
    assert with_settings(config.run, strong) == with_settings(
        config.run, flat(read_preset("strong"))
    )


@pytest.mark.parametrize("spec", [{"low": 6.0, "high": 9.0}, [1.0, 2.0]])
def test_a_default_that_the_first_trial_could_not_have_is_refused(spec: Any) -> None:
    with pytest.raises(ConfigError, match=r"leaves out the default, 5\.0"):
        a_study({WEIGHT: spec})
    assert a_study({WEIGHT: spec}, default_first=False).search


def test_whole_numbers_are_a_range_of_fractions_where_the_setting_is_one() -> None:
    config = a_study({"loss.target.softness": {"low": 0, "high": 1}})
    assert config.distributions() == {"loss.target.softness": FloatDistribution(0.0, 1.0)}


@pytest.mark.parametrize("path", ["optimiser.num_epochs", "optimiser.steps_per_epoch"])
def test_the_budget_is_not_searched(path: str) -> None:
    with pytest.raises(ConfigError, match="part of the task or its budget"):
        a_study({path: {"low": 1, "high": 500}})


def test_every_value_of_a_short_range_must_be_allowed() -> None:
    kernels = {"low": 1, "high": 7}
    with pytest.raises(ConfigError, match=r"model\.attention\.kernel, at 2:"):
        a_study({"model.attention.kernel": kernels})
    assert a_study({"model.attention.kernel": kernels | {"step": 2}}).search


@pytest.mark.parametrize("step", [2.5, -4, True])
def test_steps_of_whole_numbers_are_whole_numbers(step: Any) -> None:
    with pytest.raises(ConfigError, match="step has to be a"):
        a_study({"model.attention.reduction": {"low": 4, "high": 16, "step": step}})


def test_steps_that_miss_the_upper_end_name_the_last_one_that_is_reached() -> None:
    with pytest.raises(ConfigError, match="use high = 14"):
        a_study({"model.attention.reduction": {"low": 4, "high": 16, "step": 5}})


def test_a_default_between_the_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves out the default, 16"):
        a_study({"model.attention.reduction": {"low": 2, "high": 17, "step": 5}})


def test_values_that_cannot_go_together_are_refused() -> None:
    search: dict[str, Any] = {
        "loss.target.kind": ["soft_label", "exemplar"],
        "teacher.labels": [False, True],
    }
    with pytest.raises(ConfigError, match=r"kind = 'exemplar' and teacher\.labels = True cannot"):
        a_study(search)
    when = {"loss.target.kind": "soft_label"}
    search["teacher.labels"] = {"choices": [False, True], "when": when}
    assert a_study(search).search == search


KIND, EXEMPLARS, LABELS = "loss.target.kind", "loss.target.num_exemplars", "teacher.labels"
LONE = "loss.target.exemplar_lone_epochs"
CONDITIONAL: dict[str, Any] = {
    LONE: {"choices": [0, 5], "when": {EXEMPLARS: [6, 12]}},
    EXEMPLARS: {"choices": [0, 6, 12], "when": {KIND: "exemplar"}},
    LABELS: {"choices": [False, True], "when": {KIND: ["soft_label", "cluster_triplet"]}},
    KIND: ["soft_label", "cluster_triplet", "exemplar"],
}


def test_a_setting_is_searched_only_beside_the_values_of_its_condition() -> None:
    found = list(combinations(a_study(CONDITIONAL).space()))
    assert len(found) == 2 * 2 + 1 + 2 * 2
    assert {KIND: "cluster_triplet", LABELS: True} in found
    assert {KIND: "exemplar", EXEMPLARS: 0} in found
    assert {KIND: "exemplar", EXEMPLARS: 12, LONE: 5} in found


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({EXEMPLARS: {"choices": [6], "when": {LONE: 5}}}, "cycle"),
        (
            {KIND: ["soft_label", "cluster_triplet"]},
            "not among its choices, 'soft_label' or 'cluster",
        ),
        ({LABELS: {"choices": [True], "when": {KIND: []}}}, "kind = nothing; that is not among"),
        (
            {LABELS: {"choices": [True], "when": {"loss.target.knid": "none"}}},
            f"did you mean {KIND}",
        ),
        ({LABELS: {"choices": [True], "when": {WEIGHT: 3.0}}}, "is 5.0 and not searched"),
        ({LABELS: {"choices": [True], "when": {"loss": {"target": 3}}}}, "with the path in quotes"),
        ({LABELS: {"choices": [True], "when": KIND}}, "is not of the form"),
        (
            {WEIGHT: {"low": 1, "high": 9}, LABELS: {"choices": [True], "when": {WEIGHT: 5.0}}},
            "is a range; list its values",
        ),
    ],
)
def test_a_condition_that_cannot_be_met_is_refused(search: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        a_study(CONDITIONAL | search, default_first=False)


def test_what_the_command_line_fixes_decides_the_conditions_on_it() -> None:
    assert set(a_study(CONDITIONAL, settings=[f"{KIND}=exemplar"]).search) == {EXEMPLARS, LONE}
    config = a_study(CONDITIONAL, settings=[f"{KIND}=cluster_triplet"])
    assert set(config.search) == {LABELS}
    tree = {"study": config.study.model_dump(), "search": config.search, **config.run.model_dump()}
    assert study_config(tree, {}) == config


def test_starting_points_are_the_default_and_then_the_users() -> None:
    search = {
        "loss.target.triplet_weight": {"low": 0.0, "high": 2.0},
        "model.norm": ["shared", "domain_specific"],
        "model.pooling": ["average", "gem"],
        "teacher.labels": [False, True],
        "teacher.embeds": [False, True],
        "loss.target.num_neighbours": {"low": 5, "high": 40},
    }
    start = [{"preset": "strong", "loss.target.triplet_weight": 2}, {"model.pooling": "gem"}]
    config = a_study(search, start=start)
    default, strong, pooled = config.starting_points()
    assert default == {
        "loss.target.triplet_weight": 0.0,
        "model.norm": "shared",
        "model.pooling": "average",
        "teacher.labels": False,
        "teacher.embeds": False,
    }
    assert strong == {
        "loss.target.triplet_weight": 2.0,
        "model.norm": "domain_specific",
        "model.pooling": "gem",
        "teacher.labels": True,
        "teacher.embeds": True,
    }
    assert pooled == default | {"model.pooling": "gem"}
    fixed = a_study(search, start=start, settings=["model.norm=shared"])
    assert "model.norm" not in fixed.starting_points()[1]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({WEIGHT: 60.0}, "leaves out 60.0; widen the range"),
        ({WEIGHT: 60.0, "preset": "daam_v7"}, "no preset 'daam_v7'"),
        ({"preset": "strong"}, "is not searched beside the other values"),
        ({"loss.target.eps": 0.3}, "eps = 0.3 is not searched"),
        ({EXEMPLARS: 12}, "num_exemplars = 12 is not searched beside"),
        ({"loss": {"target": {"kind": "exemplar"}}}, "begins with loss in quotes"),
        ({"loss.target.knid": "exemplar"}, f"did you mean {KIND}"),
        ({WEIGHT: "much"}, "valid number"),
    ],
)
def test_a_starting_point_outside_the_search_is_refused(start: Any, words: str) -> None:
    search = CONDITIONAL | {WEIGHT: {"low": 0.5, "high": 50.0}}
    with pytest.raises(ConfigError, match=words) as caught:
        a_study(search, start=[{KIND: "exemplar"}, start])
    assert str(caught.value).startswith(("[[study.start]] 2: ", "there is no preset"))


def test_combinations_of_floats_are_rounded_and_bounded_in_number() -> None:
    eps = {"low": 0.55, "high": 0.6}
    values = [
        found["loss.target.eps"]
        for found in combinations(a_study({"loss.target.eps": eps}).space())
    ]
    assert values == pytest.approx([0.55 + 0.001 * step for step in range(51)])
    steps = {"low": 5e-8, "high": 50.0, "step": 5e-8}
    assert len(list(combinations(a_study({WEIGHT: steps}).space()))) == 1000
