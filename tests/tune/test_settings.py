"""A study asks for what its score needs, and for no label that it must not see."""

import random
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import tomlkit

from daam.dataset.importing.dataset_index import IndexBuilder
from daam.dataset.importing.import_domain import import_domain
from daam.domains import Split
from daam.errors import ConfigError, DaamError
from daam.storage import open_store
from tests.support.commands import Launch
from tests.support.damage import changed, damaged_bytes, paths_of, without
from tune.domains import check_targets
from tune.folder.folder import STUDY, read_folder, write_settings
from tune.settings import StudyConfig, adapting, study_config

ONE_WAY = ["plaza->mine"]


def study_of(settings: dict[str, Any] | None = None, **study: Any) -> StudyConfig:
    """A study with these settings in its table `[study]`, and others of its runs."""
    search = {"loss.target.eps": {"low": 0.4, "high": 0.7}}
    return study_config({"study": study, "search": search}, settings or {})


def test_a_study_without_labels_needs_none() -> None:
    config = study_of(score="label_free", search_transfers=ONE_WAY)
    assert config.needed_splits() == {"plaza": {Split.TRAIN}, "mine": {Split.TRAIN}}
    assert config.final_transfer == "plaza->mine"
    assert not config.is_measured


def test_a_study_without_a_holdout_has_no_comparison() -> None:
    config = study_of(search_transfers=ONE_WAY)
    assert config.final_transfer == ""
    assert Split.QUERY not in config.needed_splits()["mine"]


def test_a_study_for_a_target_without_labels_is_scored_on_others() -> None:
    config = study_of(score="transfer", search_transfers=["plaza->campus"], apply_to="plaza->mine")
    assert config.final_transfer == "plaza->mine"
    assert config.needed_splits()["mine"] == {Split.TRAIN}
    assert Split.VALIDATION_QUERY in config.needed_splits()["campus"]
    with pytest.raises(ConfigError, match=r"name it: study\.apply_to"):
        study_of(score="transfer", search_transfers=["plaza->campus"])


def test_a_search_without_labels_may_be_proven_on_its_own_target() -> None:
    config = study_of(score="label_free", search_transfers=["plaza->mine"], holdout="plaza->mine")
    assert config.is_measured
    with pytest.raises(ConfigError, match="share the domain plaza"):
        study_of(score="label_free", search_transfers=["plaza->mine"], holdout="campus->plaza")


def test_a_study_names_a_transfer() -> None:
    with pytest.raises(ConfigError, match="give --source and --target"):
        study_of(score="label_free")


def test_the_transfer_of_a_command_goes_where_the_score_needs_it() -> None:
    assert adapting("a->b", score="label_free") == {"study.search_transfers": ["a->b"]}
    assert adapting("a->b", score="transfer") == {"study.apply_to": "a->b"}
    with pytest.raises(ConfigError, match="use --preset adapt"):
        adapting("a->b", score="validation")


@pytest.fixture
def unlabelled(tmp_path: Path) -> str:
    """A store with the domain mine, whose identities are unknown."""
    builder = IndexBuilder(layout="folder", root=tmp_path)
    for number in range(20):
        (tmp_path / f"{number}.jpg").write_bytes(
            simplejpeg.encode_jpeg(np.full((32, 16, 3), 9 * number, np.uint8))
        )
        builder.add(f"{number}.jpg", split=Split.TRAIN, identity=None, camera=1)
    root = str(tmp_path / "domains")
    import_domain(builder.build(), domain="mine", to=open_store(root))
    return root


def test_a_target_without_identities_gives_no_score_by_labels(unlabelled: str) -> None:
    at = {"data.root": unlabelled}
    with pytest.raises(ConfigError, match=r"mine has no identities.*--source plaza --target mine"):
        check_targets(study_of(at, search_transfers=ONE_WAY))
    check_targets(study_of(at, score="label_free", search_transfers=ONE_WAY))
    check_targets(study_of(at, search_transfers=["plaza->not-there"]))


def test_source_and_target_are_given_together(command: Launch) -> None:
    done = command("tune", "--source", "plaza")
    assert done.code == 2
    assert "give both" in done.err


def test_a_file_changes_what_a_preset_says(command: Launch, tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    words = ("--preset", "adapt", "--config", str(file), "--source", "plaza", "--target", "mine")
    file.write_text(f'[data]\nroot = "{tmp_path}/nothing"\n')
    assert f"{tmp_path}/nothing has no domain mine, plaza" in command("tune", *words).err
    file.write_text('[study]\nscore = "validation"\n')
    assert "this study scores by labels" in command("tune", *words).err


def test_a_damaged_study_file_is_a_study_or_refused_in_a_line(tmp_path: Path) -> None:
    folder = open_store(str(tmp_path))
    write_settings(folder, study_of(search_transfers=ONE_WAY, holdout="plaza->campus"))
    content = folder.read(STUDY)
    tree = tomllib.loads(content.decode())
    damaged = [damaged for _, damaged in damaged_bytes(content)]
    for path in paths_of(tree):
        if path and random.Random(repr(path)).random() < 0.3:
            damaged.append(tomlkit.dumps(without(tree, path)).encode())
            for value in (True, 2**62, "text", [[[]]], {"a": {"low": 0}}, float("nan")):
                new = changed(tree, path, lambda _, new=value: new)
                damaged.append(tomlkit.dumps(new).encode())
    num_refused = 0
    for content in damaged:
        folder.write(STUDY, content)
        try:
            study_config(read_folder(folder.uri)[1], {})
        except DaamError:
            num_refused += 1
    assert num_refused > 0.7 * len(damaged)
