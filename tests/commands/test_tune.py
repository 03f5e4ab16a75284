"""`daam tune`: what is decided before Ray starts."""

from pathlib import Path

import pytest

from daam.config.load import read_toml
from daam.storage import open_store
from tests.support.commands import Launch
from tune.folder.folder import write_settings
from tune.settings import study_config

STUDY = """
[study]
name = "small"
search_transfers = ["plaza->campus"]
holdout = "plaza->station"
num_trials = 2

[search]
"optimiser.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"""


def test_one_command_begins_a_study_and_goes_on_with_it(
    tiny_file: Path, tmp_path: Path, command: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ray(**_: object) -> None:
        raise Exception("there is work to do")  # noqa: TRY002  (as Ray)

    monkeypatch.setattr("ray.init", no_ray)
    file = tmp_path / "study.toml"
    file.write_text(tiny_file.read_text() + STUDY)
    same = ("tune", "--config", str(file), "--storage", str(tmp_path / "runs"))

    assert "there is work to do" in command(*same, "--or-resume").err
    write_settings(open_store(str(tmp_path / "runs" / "small")), study_config(read_toml(file), {}))
    assert "there is a study in" in command(*same).err
    assert "there is work to do" in command(*same, "--or-resume").err
