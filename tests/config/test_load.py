"""Settings from files, words and tables: one name for each, none accepted that does not exist."""

import copy
import math
import tomllib
from pathlib import Path

import pytest

from daam.config.load import (
    merged,
    nested,
    parse_settings,
    read_packaged_toml,
    read_preset,
    read_toml,
    run_config,
    setting,
    setting_paths,
    to_toml,
    with_settings,
)
from daam.config.schema import RunConfig
from daam.errors import ConfigError


def config_of(path: str, value: object) -> RunConfig:
    return run_config(nested({path: value}))


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("sede", "seed"),
        ("loss.triplet.wieght", "loss.triplet.weight"),
        ("model.backbon", "model.backbone"),
        ("optimizer.learning_rate", "optimiser.learning_rate"),
        ("data.augmentation.flips", "data.augmentation.flip"),
        ("num_neighbours", "loss.target.num_neighbours"),  # the right name, without its tables
    ],
)
def test_an_unknown_setting_names_the_nearest(wrong, meant):
    with pytest.raises(ConfigError) as caught:
        config_of(wrong, 1)
    assert f"there is no setting {wrong.split('.')[0]}" in str(caught.value)
    with pytest.raises(ConfigError) as asked:
        setting(RunConfig(), wrong)
    assert str(asked.value) == f"there is no setting {wrong}; did you mean {meant}?"


def test_a_name_like_no_other_leads_to_the_list():
    with pytest.raises(ConfigError, match=r"there is no setting qqqq; see: daam config"):
        config_of("qqqq", 1)


def test_an_unknown_table_names_the_nearest_table():
    with pytest.raises(ConfigError, match=r"no setting los; did you mean loss\?"):
        run_config({"los": {"triplet": {}}})


def test_every_complaint_of_a_tree_is_reported_in_one_line():
    with pytest.raises(ConfigError) as caught:
        run_config({"seed": -1, "data": {"heigt": 3}}, where="my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    assert "\n" not in message
    assert "seed = -1" in message
    assert "did you mean data.height?" in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("data.height", 15),
        ("data.augmentation.flip", 1.01),
        ("data.root", ""),
        ("model.attention.kernel", 2),
        ("model.attention.temperature", 0.0),
        ("model.backbone", "resnet33"),
        ("loss.identity.label_smoothing", 1.0),
        ("loss.triplet.weight", -0.1),
        ("loss.target.eps", 0.0),
        ("optimiser.learning_rate", 0.0),
        ("optimiser.learning_rate", math.inf),
        ("optimiser.learning_rate", math.nan),
        ("optimiser.num_epochs", 0),
        ("compute.num_workers", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(path, value):
    with pytest.raises(ConfigError) as caught:
        config_of(path, value)
    assert f"{path} = {value!r}: " in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", "1"),
        ("seed", 1.0),
        ("seed", True),
        ("data.height", 64.5),
        ("optimiser.learning_rate", "0.1"),
        ("evaluation.flip", 1),
        ("evaluation.flip", "true"),
        ("transfer", 3),
        ("loss", 3),
        ("data.augmentation", "strong"),
    ],
)
def test_no_value_is_turned_into_another_type(path, value):
    with pytest.raises(ConfigError) as caught:
        config_of(path, value)
    assert f"{path} = {value!r}: " in str(caught.value)


def test_a_whole_number_may_stand_for_a_fraction():
    assert config_of("loss.triplet.weight", 2).loss.triplet.weight == 2.0


def test_a_file_a_word_and_a_table_name_a_setting_alike(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('[loss.target]\nkind = "none"\nweight = 2.5\n')
    from_file = run_config(read_toml(file))
    from_words = run_config(
        nested(parse_settings(["loss.target.kind=none", "loss.target.weight=2.5"]))
    )
    from_table = run_config({"loss": {"target": {"kind": "none", "weight": 2.5}}})
    assert from_file == from_words == from_table
    assert from_file == with_settings(
        RunConfig(), {"loss.target.kind": "none", "loss.target.weight": 2.5}
    )
    assert setting(from_file, "loss.target.weight") == 2.5
    assert setting(from_file, "loss.target") == from_file.loss.target


def test_a_later_layer_wins_setting_by_setting():
    config = run_config(
        {"seed": 5, "data": {"height": 64, "width": 32}},
        {"data": {"width": 48}},
    )
    assert (config.seed, config.data.height, config.data.width) == (5, 64, 48)


def test_changed_settings_leave_the_rest_and_the_original():
    original = config_of("seed", 7)
    changed = with_settings(original, {"data.height": 64})
    assert (original.data.height, changed.data.height) == (256, 64)
    assert changed.seed == 7
    with pytest.raises(ConfigError, match="changed settings: there is no setting hight"):
        with_settings(original, {"hight": 64})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"seed": 2**32 - 1, "optimiser.learning_rate": 1e-7, "optimiser.weight_decay": 0},
        {"loss.target.temperature": 1 / 3, "loss.triplet.weight": 1e-300},
        {"data.root": "s3://bucket/prefix", "model.weights": "C:\\weights\\a \"b\" 'c'.pt"},
        {"data.root": "línea\none\ttab # no comment", "data.cache": "]=[["},
    ],
)
def test_settings_written_as_toml_are_read_back_equal(settings, tmp_path: Path):
    config = run_config(nested(settings))
    file = tmp_path / "config.toml"
    file.write_text(to_toml(config), encoding="utf-8")
    assert run_config(read_toml(file)) == config
    assert to_toml(run_config(read_toml(file))) == to_toml(config)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no settings file .*absent\.toml; check the path"):
        read_toml(tmp_path / "absent.toml")


def test_a_folder_in_place_of_a_file_cannot_be_read(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)


def test_a_file_that_is_not_text_cannot_be_read(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"run\.toml cannot be read"):
        read_toml(file)


def test_a_mistake_in_a_file_is_reported_with_its_line(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\nseed = \n")
    with pytest.raises(
        ConfigError, match=r"run\.toml cannot be read: it is not valid TOML: .*line 2"
    ):
        read_toml(file)


def test_the_preset_of_the_second_version_is_the_defaults():
    assert run_config(read_preset("daam_v2")) == RunConfig()


def test_the_source_only_preset_turns_off_all_that_looks_at_the_target():
    config = run_config(read_preset("source_only"))
    assert not config.loss.uses_target
    assert RunConfig().loss.uses_target
    assert config.model.attention.kind == "none"
    assert not config.evaluation.reestimate_norm
    different = {
        path
        for path in setting_paths(RunConfig)
        if setting(config, path) != setting(RunConfig(), path)
    }
    assert different == {
        "model.attention.kind",
        "loss.domain_similarity.kind",
        "loss.domain_classification.weight",
        "loss.target.kind",
        "evaluation.reestimate_norm",
    }


def test_a_preset_that_does_not_exist_names_those_that_do():
    with pytest.raises(
        ConfigError, match="no preset 'daam_v3'; there are: daam_v1, daam_v2, source_only"
    ):
        read_preset("daam_v3")
    with pytest.raises(ConfigError, match=r"there is no preset '\.\./load'"):
        read_packaged_toml("daam.config", "presets", "../load")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a.b=3", 3),
        ("a.b=-3", -3),
        ("a.b=3.5", 3.5),
        ("a.b=1e-4", 1e-4),
        ("a.b=true", True),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b={x = 1}", {"x": 1}),
        ("a.b=tiny", "tiny"),
        ("a.b='tiny'", "tiny"),
        ('a.b="3"', "3"),
        ("a.b=plaza->campus", "plaza->campus"),
        ("a.b=s3://bucket/a=b", "s3://bucket/a=b"),
        ("a.b=~/weights.pt", "~/weights.pt"),
        ("a.b=True", "True"),
        ("a.b=", ""),
        (" a.b = 3 ", 3),
    ],
)
def test_a_word_is_read_as_toml_or_else_as_text(word, value):
    settings = parse_settings([word])
    assert settings == {"a.b": value}
    assert type(settings["a.b"]) is type(value)


def test_the_last_word_for_a_setting_counts():
    assert parse_settings(["seed=1", "seed=2"]) == {"seed": 2}


@pytest.mark.parametrize("word", ["seed", "=3", " = 3", ""])
def test_a_word_without_name_or_value_is_refused_with_an_example(word):
    with pytest.raises(ConfigError, match=r"not of the form path=value, for example loss\."):
        parse_settings([word])


def test_dotted_paths_become_tables():
    assert nested({"a.b.c": 1, "a.b.d": 2, "a.e": 3, "f": 4}) == {
        "a": {"b": {"c": 1, "d": 2}, "e": 3},
        "f": 4,
    }


@pytest.mark.parametrize(
    "settings",
    [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}, {"a.b": 1, "a.b.c.d": 2}, {"a.b.c.d": 2, "a.b": 1}],
)
def test_a_path_cannot_be_both_a_value_and_a_table(settings):
    with pytest.raises(ConfigError, match=r"cannot hold settings|cannot be a value"):
        nested(settings)


def test_a_table_given_as_a_value_joins_the_paths_into_it():
    table = {"b": 1}
    assert nested({"a.c": 2, "a": table}) == {"a": {"b": 1, "c": 2}}
    assert nested({"a": table, "a.c": 2}) == {"a": {"b": 1, "c": 2}}
    assert table == {"b": 1}


def test_merging_changes_neither_of_the_two():
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
    over = {"a": {"c": {"d": 3, "f": 4}}, "e": [2], "g": {"h": 5}}
    before = copy.deepcopy((base, over))
    result = merged(base, over)
    assert result == {"a": {"b": 1, "c": {"d": 3, "f": 4}}, "e": [2], "g": {"h": 5}}
    result["a"]["b"] = result["a"]["c"]["d"] = 9
    assert (base, over) == before


def test_a_value_may_take_the_place_of_a_table():
    assert merged({"a": {"b": 1}}, {"a": 2}) == {"a": 2}
    assert merged({"a": 2}, {"a": {"b": 1}}) == {"a": {"b": 1}}


def test_every_setting_has_a_path_and_a_place_in_the_toml():
    tree = tomllib.loads(to_toml(RunConfig()))

    def leaves(table: dict, prefix: str = "") -> list[str]:
        found = []
        for name, value in table.items():
            path = f"{prefix}{name}"
            found += leaves(value, f"{path}.") if isinstance(value, dict) else [path]
        return found

    assert sorted(leaves(tree)) == sorted(setting_paths(RunConfig))


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("loss.target.num_neighbours", 1, "greater than or equal to 2, or input should be 'auto'"),
        ("loss.target.num_neighbours", "k", "a valid integer, or input should be 'auto'"),
        ("loss.target.centre_cameras", 3, "a valid boolean, or input should be 'auto'"),
    ],
)
def test_a_setting_of_several_types_is_named_once_with_all_it_may_be(path, value, problem):
    with pytest.raises(ConfigError) as caught:
        config_of(path, value)
    assert str(caught.value) == f"settings: {path} = {value!r}: input should be {problem}"
